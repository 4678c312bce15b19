"""Estimate the size of a store from its first rows, and refuse one that does not fit on the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selfsup.data.rows import Rows
from selfsup.errors import StorageError

ESTIMATE_ROWS = 512
_ESTIMATE_SECONDS = 5.0
"""After so many rows, or so long, it is estimated what all will take."""


class StoreTooLargeError(StorageError):
    """Raw values do not fit; compressed ones may."""

    def __init__(self, message: str, raw_bytes: int, limit: str) -> None:
        super().__init__(message)
        self.raw_bytes, self.limit = raw_bytes, limit


@dataclass(frozen=True)
class Estimate:
    """What all rows of a source will take, estimated from the first ones."""

    nbytes: int
    """Of all samples on disk."""
    seconds: float
    """Until the last row is processed."""
    raw_bytes: int = 0
    """Bytes of the samples if they were not compressed; 0: they are not."""
    limit: str = ""
    """Why they are compressed: ``100.0 GB are allowed``."""


class SizeWatch:
    """Estimates what a store will take while it is written.

    Args:
        rows: all of them.
        folder: of the store.
        most_bytes: that it may take; None: what is free.
        estimated: takes the estimate; None: nobody does.
        refused: why raw values do not fit, where they are compressed.
    """

    def __init__(
        self,
        rows: Rows,
        folder: Path,
        most_bytes: int | None,
        estimated: Callable[[Estimate], object] | None,
        refused: StoreTooLargeError | None = None,
    ) -> None:
        self._rows, self._folder, self._most, self._estimated = rows, folder, most_bytes, estimated
        self.refused = refused
        self._began, self._looked = time.monotonic(), False

    def look(self, done: int, nbytes: int) -> None:
        """Compare what the first rows took with the limits.

        Args:
            done: rows.
            nbytes: of their samples.

        Raises:
            StoreTooLargeError: it is more than the limit, or all rows will take more than that or than the disk has.
        """
        share = done / len(self._rows)
        allowed = "" if self._most is None else f"{shown_size(self._most)} are allowed"
        if self._most is not None and nbytes > self._most:
            raise self._too_large(nbytes, "at least", allowed, int(nbytes / share))
        seconds = time.monotonic() - self._began
        if self._looked or (done < min(ESTIMATE_ROWS, len(self._rows)) and seconds < _ESTIMATE_SECONDS):
            return
        self._looked = True
        expected = int(nbytes / share)
        free = shutil.disk_usage(self._folder).free + nbytes
        if self._most is not None and expected > self._most:
            raise self._too_large(expected, "about", allowed, expected)
        if expected > free:
            raise self._too_large(expected, "about", f"{shown_size(free)} are free in {self._folder}", expected, allow="")
        if self._estimated is not None:
            raw = (0, "") if self.refused is None else (self.refused.raw_bytes, self.refused.limit)
            self._estimated(Estimate(expected, seconds / share - seconds, *raw))

    def _too_large(
        self, nbytes: int, how: str, limit: str, expected: int, allow: str = " allow more (--max-store-gb),"
    ) -> StoreTooLargeError:
        packed = "" if self.refused is None else f" even when compressed ({shown_size(self.refused.raw_bytes)} otherwise)"
        return StoreTooLargeError(
            f"The processed rows of {self._rows.name} take {how} {shown_size(nbytes)}{packed}, and {limit}. Decode them while "
            f"training goes on (--stream),{allow} make samples smaller (options of the processor), or let "
            "SELFSUP_CACHE name a folder on a larger disk.",
            expected,
            limit,
        )


def shown_size(nbytes: float) -> str:
    """Bytes for people: ``12.3 GB`` (10^9 bytes), ``4.56 MB``."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.3g} MB"
