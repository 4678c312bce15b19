"""A source that is read row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from selfsup.data.rows import Rows
from selfsup.data.sources.streams.remote_files import AT_ONCE
from selfsup.runtime.threads import in_order
from selfsup.types import Row

_FEW_SHARDS = 64


class Shard(Protocol):
    """A part of a source that is read from start to end: an archive, a file of a table, some files of a folder."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def count(self) -> int | None:
        """Its number of rows, if that is known without reading it."""
        ...

    def records(self, start: int) -> Iterator[Mapping[str, Any]]:
        """Columns to values of each row from the ``start``-th on; rows before it are skipped as cheaply as possible.

        Raises:
            SourceError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class RowStream:
    """Rows of a source, read shard after shard."""

    sample: Rows
    """Some of the rows: the first ones if the source can only be read from its start. They tell the role of each column;
    processors are fitted on them, and the run observes their embeddings."""
    shards: Sequence[Shard]
    fingerprint: str
    """Hash of the names and sizes of the shards, and of the columns with their roles."""
    remote: bool = False
    """Whether reading it needs a network."""
    ended: bool = False
    """Whether ``sample`` holds all rows."""
    described: str = ""
    """Which rows the sample is: ``the first 10000 rows``."""

    @property
    def name(self) -> str:
        """What the user calls the source."""
        return self.sample.name

    def read(self, shard: int, start: int = 0) -> Iterator[Row]:
        """The rows of a shard from the ``start``-th on, without labels."""
        for record in self.shards[shard].records(start):
            yield self.sample.as_row(record)

    def counts(self) -> dict[int, int]:
        """Shard to its number of rows, for those that know it without being read."""
        found = in_order(lambda shard: shard.count(), self.shards, AT_ONCE if self.remote else 1)
        return {number: count for number, count in enumerate(found) if count is not None}

    def describe(self, shard: int, number: int, row: Row) -> str:
        """What to call a row in a message: its shard, its number and its file."""
        values = [row.get(role) for role in sorted(self.sample.media)]
        paths = [value["path"] for value in values if isinstance(value, dict) and value.get("path")]
        return f"row {number} of {self.shards[shard].name}{f' ({paths[0]})' if paths else ''}"


def rows_of(stream: RowStream, given: int | None, holdout: float, *, ask: bool = True) -> int | None:
    """Rows of an epoch without those held out: the given number, or that of the shards; None if unknown.

    Args:
        stream: the rows.
        given: number from the user, or None.
        holdout: share of the rows to hold out.
        ask: whether to ask each shard even if that takes a while (many shards, or a network).
    """
    if given is not None:
        return round(given * (1 - holdout))
    if stream.ended and not holdout:
        return len(stream.sample)
    if not ask and (stream.remote or len(stream.shards) > _FEW_SHARDS):
        return None
    counts = stream.counts()
    known = sum(counts.values()) if len(counts) == len(stream.shards) else None
    return None if known is None else round(known * (1 - holdout)) if holdout else known
