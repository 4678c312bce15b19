"""Count the rows of a stream: those given, bad ones with reasons, and the hashes of rows that were trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from selfsup.data.batches.decoding import DecodedRow
from selfsup.data.batches.source import SeenRows
from selfsup.data.sources.streams.row_stream import RowStream
from selfsup.data.store.content_hash import HashArray, each_once, mixed
from selfsup.errors import TooManyBadRowsError

MAX_HASHES = 1 << 20
"""Different rows whose hashes are kept (8 MB), of all processes together."""
_NAMED = 5
_UNSORTED = 1 << 14
_CAUSES = {
    "shards": "Even shards leave fewer, and so does --set streaming.split=rows.",
    "rows": "Bad and held-out rows are not the same number on each process.",
    "blocks": "Each process joins its own rows into blocks, and longer rows fill more of them.",
}
"""By what each process has of its own, why one may have a batch when another has none."""


class RowTally:
    """Counts the rows that one process was given.

    Args:
        stream: names its rows.
        max_bad_rows: part of the rows that may be bad. It is taken of the rows that were read, but of no fewer than the sample
            has, so that one bad row among the first does not end a run.
        processes: of the run; each keeps its part of the hashes.
    """

    def __init__(self, stream: RowStream, max_bad_rows: float, processes: int) -> None:
        self._stream, self._max_bad = stream, max_bad_rows
        self._most = MAX_HASHES // processes
        self.rows = self.bad = self.held_out = 0
        self.named: list[str] = []
        self._hashes, self._new = np.zeros(0, dtype=np.uint64), list[np.uint64]()
        self._told = 0
        self._noted = self._noted_bad = 0

    def begin(self) -> None:
        """Rows are noted from here on behind those that were counted."""
        self._noted, self._noted_bad = self.rows, self.bad

    def note(self, row: DecodedRow) -> DecodedRow:
        """The row without what is only needed for its batch."""
        self._noted += bool(row.reason) or row.sample is not None
        self._noted_bad += bool(row.reason)
        reason = row.reason and f"row {row.origin.number} of {self._stream.shards[row.origin.shard].name}: {row.reason}"
        return DecodedRow(row.place, row.origin, row.hash, {} if row.sample is not None else None, reason)

    def add(self, rows: Iterable[DecodedRow], *, given: bool = True) -> None:
        """Count rows up to the end of a batch.

        Args:
            rows: all since the last call.
            given: False: they lie behind the last batch of an epoch, and only bad ones count.

        Raises:
            TooManyBadRowsError: more were bad than allowed.
        """
        for row in rows:
            if row.reason:
                self.bad += 1
                self.rows += 1
                if len(self.named) < _NAMED:
                    self.named.append(row.reason)
            elif row.sample is None:
                self.held_out += 1
            elif given:
                self.rows += 1
                self._new.append(row.hash)
        if len(self._new) > _UNSORTED:
            self._sort()
        self._check(self.bad, self.rows)

    def check(self, rows: Sequence[DecodedRow], *, given: bool = True) -> None:
        """Raise what :meth:`add` would raise for these rows, and count nothing."""
        reasons = [row.reason for row in rows if row.reason]
        usable = sum(not row.reason and row.sample is not None for row in rows) if given else 0
        self._check(self.bad + len(reasons), self.rows + len(reasons) + usable, reasons)

    def look_ahead(self, rows: Iterable[DecodedRow]) -> None:
        """Check rows that fill no batch yet, so that a stream of bad ones is not read to its end.

        Args:
            rows: all since the last batch, which were noted.

        Raises:
            TooManyBadRowsError: more were bad than allowed.
        """
        self._check(self._noted_bad, self._noted, [row.reason for row in rows if row.reason])

    def _check(self, bad: int, rows: int, reasons: Sequence[str] = ()) -> None:
        allowed = math.floor(self._max_bad * max(rows, len(self._stream.sample)))
        if bad > allowed:
            self.named = [*self.named, *reasons][:_NAMED]
            raise TooManyBadRowsError(
                f"{bad} of the first {rows} rows of {self._stream.name} cannot be processed; at most {allowed} may be bad "
                f"(max_bad_rows={self._max_bad:g}). {self.described()} Repair or remove them, or allow more with "
                "--max-bad-rows."
            )

    def described(self) -> str:
        """The first bad rows with their reasons, as a sentence; empty where there are none."""
        return f"The first: {'; '.join(text.rstrip('.') for text in self.named)}." if self.named else ""

    def report(self, epoch: int, left: Sequence[int | None], least: int, cause: str, retried: Sequence[str]) -> list[str]:
        """What to say at the end of an epoch.

        Args:
            epoch: counted from 0.
            left: rows that each of several processes has left, as far as it knows no bad and no held-out ones; None: it is not
                known.
            least: fewer rows that are left on all processes together are not reported.
            cause: why one process has fewer batches than another: ``shards``, ``rows`` or ``blocks``.
            retried: what each process has to tell about its repeated requests.
        """
        said = []
        if self.bad > self._told:
            said.append(
                f"Warning: {self.bad} of the {self.rows} rows of {self._stream.name} that were read so far are left out. "
                f"{self.described()}"
            )
            self._told = self.bad
        for number, text in enumerate(retried):
            if text:
                where = f" by process {number}" if len(retried) > 1 else ""
                said.append(f"Warning: while {self._stream.name} was read{where}, {text}")
        if None in left or sum(filter(None, left)) >= least:
            named = ", ".join(
                f"{'an unknown number' if count is None else count} of process {n}" for n, count in enumerate(left)
            )
            said.append(
                f"Epoch {epoch + 1} of {self._stream.name} ended when a process had no full batch left. Rows that were not "
                f"given in it: {named}. {_CAUSES[cause]}"
            )
        return said

    def _sort(self) -> None:
        joined = each_once(np.concatenate([self._hashes, np.array(self._new, dtype=np.uint64)]))
        self._hashes, self._new = _smallest(joined, self._most), []

    def state_dict(self) -> dict[str, Any]:
        """Tensors and primitives."""
        self._sort()
        return {
            "rows": self.rows,
            "bad": self.bad,
            "held_out": self.held_out,
            "named": list(self.named),
            "hashes": torch.from_numpy(self._hashes.view(np.int64).copy()),
            "most": self._most,
        }

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what processes had counted; none: from nothing."""
        tallies = [state["tally"] for state in states]
        self.rows, self.bad, self.held_out = (sum(tally[key] for tally in tallies) for key in ("rows", "bad", "held_out"))
        self.named = [text for tally in tallies for text in tally["named"]][:_NAMED]
        self._told = self.bad
        self._new = []
        self._hashes = _smallest(_together(tallies), self._most)

    @staticmethod
    def seen(tallies: Sequence[Mapping[str, Any]]) -> SeenRows:
        """What all processes were given."""
        hashes = _together(tallies)
        cut = any(len(tally["hashes"]) == tally["most"] for tally in tallies)
        different = len(hashes)
        if cut:  # each keeps the smallest: below the least of their largest ones all are known
            marks = mixed(hashes)
            limit = min(mixed(_hashes_of(tally)).max() for tally in tallies if len(tally["hashes"]) == tally["most"])
            hashes = hashes[marks <= limit]
            different = round(len(hashes) / ((int(limit) + 1) / 2**64))
        rows, bad, held_out = (sum(tally[key] for tally in tallies) for key in ("rows", "bad", "held_out"))
        named = [text for tally in tallies for text in tally["named"]][:_NAMED]
        return SeenRows(hashes, different, {"rows_read": rows, "bad_rows": bad, "held_out": held_out, "first_bad": named})


def _hashes_of(tally: Mapping[str, Any]) -> HashArray:
    found: HashArray = tally["hashes"].numpy().view(np.uint64)
    return found


def _together(tallies: Sequence[Mapping[str, Any]]) -> HashArray:
    parts = [_hashes_of(tally) for tally in tallies]
    return each_once(np.concatenate([np.zeros(0, dtype=np.uint64), *parts]))


def _smallest(hashes: HashArray, most: int) -> HashArray:
    """The hashes that are kept: those with the smallest hashes of hashes, sorted."""
    if len(hashes) <= most:
        return hashes
    return np.sort(hashes[np.argsort(mixed(hashes), kind="stable")[:most]])
