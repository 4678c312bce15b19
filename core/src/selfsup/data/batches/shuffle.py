"""Shuffle the rows of a stream: their order depends on seed, epoch and buffer size, and can be resumed anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from selfsup.data.sources.streams.row_stream import RowStream
from selfsup.types import Row

_DRAWS = 4096


class Origin(NamedTuple):
    """The place of a row in its stream."""

    shard: int
    number: int
    """Of the row in its shard."""


class StreamedRow(NamedTuple):
    """A row with its place."""

    place: int
    """In the order of this process, counted from 0 in each epoch."""
    origin: Origin
    row: Row


class ShuffleBuffer:
    """Gives numbers in another order: each new one takes the place of one of ``size`` kept ones, drawn at random, which leaves.

    The order is a function of ``size``, the generator and how many numbers there are. So the state after ``n`` of them is found
    again by giving the first ``n`` anew, which reads no row.

    Args:
        size: numbers that are kept; 1 leaves the order as it is.
        generator: draws.
    """

    def __init__(self, size: int, generator: np.random.Generator) -> None:
        self.size, self._generator = size, generator
        self.kept: list[int] = []
        """Numbers in the buffer."""

    def through(self, numbers: Iterator[int]) -> Generator[int]:
        """All of the numbers, each once."""
        kept, draws = self.kept, self._draws()
        for number in numbers:
            if len(kept) < self.size:
                kept.append(number)
                continue
            slot = next(draws)
            given, kept[slot] = kept[slot], number
            yield given
        kept[:] = [kept[place] for place in self._generator.permutation(len(kept)).tolist()]
        while kept:
            yield kept.pop()

    def _draws(self) -> Iterator[int]:
        while True:
            yield from self._generator.integers(self.size, size=_DRAWS).tolist()


@dataclass(frozen=True)
class Split:
    """Which rows of a stream are those of one process.

    By rows: all processes read all shards and give the same order, and each takes its part of every batch of all of them; no
    row is lost or read twice, however uneven the shards are. By shards: each process reads shards of its own, and rows are
    shuffled among these.
    """

    batch_size: int
    """Of one process."""
    rank: int = 0
    world_size: int = 1
    by_shards: bool = False

    @property
    def strides(self) -> bool:
        """Whether this process passes over rows that others take."""
        return self.world_size > 1 and not self.by_shards

    def shards(self, order: Sequence[int]) -> list[int]:
        """Of all shards in the order of an epoch, those that this process reads."""
        return list(order[self.rank :: self.world_size] if self.by_shards else order)

    def is_own(self, number: int) -> bool:
        """Whether the ``number``-th row that the shuffle gives is taken here."""
        return not self.strides or number // self.batch_size % self.world_size == self.rank

    def rows_of(self, total: int) -> int:
        """Of so many rows of all shards, those that are this process's, where it passes over the others'."""
        batches, rest = divmod(total, self.batch_size * self.world_size)
        return batches * self.batch_size + min(max(rest - self.rank * self.batch_size, 0), self.batch_size)

    def number_of(self, place: int) -> int:
        """The number that the shuffle gives the row at a place of this process's order."""
        if not self.strides:
            return place
        batch, rest = divmod(place, self.batch_size)
        return (batch * self.world_size + self.rank) * self.batch_size + rest


class ShuffledRows:
    """The rows of one process in the order of an epoch, from a place on.

    Args:
        stream: what is read.
        split: which rows are those of this process.
        seed: of the order.
        epoch: counted from 0.
        buffer: rows that are kept in memory to shuffle among.
        counts: shard to its number of rows, as far as known; shards that are read to their end are added.
        least: shard to a number of rows that it is known to have, where not all of them are counted; grows with what is read.
        start: place of the first row to give.
    """

    def __init__(
        self,
        stream: RowStream,
        split: Split,
        *,
        seed: int,
        epoch: int,
        buffer: int,
        counts: MutableMapping[int, int],
        least: MutableMapping[int, int] | None = None,
        start: int = 0,
    ) -> None:
        order = np.random.default_rng((seed, epoch, 0)).permutation(len(stream.shards)).tolist()
        self._stream, self._split, self._counts, self._start = stream, split, counts, start
        self._least: MutableMapping[int, int] = {} if least is None else least
        self._shards = split.shards(order)
        self._shuffle = ShuffleBuffer(buffer, np.random.default_rng((seed, epoch, 1)))
        self._next = 0
        self._live: Iterator[tuple[int, Origin, Row]] | None = None
        self._held: dict[int, tuple[Origin, Row]] = {}

    @property
    def total(self) -> int | None:
        """Rows of all shards that this process reads; None where a shard does not say, and has not been read to its end."""
        counts = [self._count(shard) for shard in self._shards]
        return None if None in counts else sum(filter(None, counts))

    def __iter__(self) -> Generator[StreamedRow]:
        first = self._split.number_of(self._start)
        given = self._shuffle.through(self._positions())
        for _ in range(first):
            if (passed := next(given, None)) is None:
                return
            self._held.pop(passed, None)
        self._go_live()
        place = self._start
        for number, position in enumerate(given, first):
            origin, row = self._held.pop(position)
            if self._split.is_own(number):
                yield StreamedRow(place, origin, row)
                place += 1

    def _count(self, shard: int) -> int | None:
        """Rows of a shard; None where they are not known."""
        if shard not in self._counts and (count := self._stream.shards[shard].count()) is not None:
            self._counts[shard] = count
        return self._counts.get(shard)

    def _sure(self) -> Iterator[None]:
        """As many as there are rows before the first one that nobody has seen or counted."""
        for shard in self._shards:
            count = self._count(shard)
            yield from itertools.repeat(None, self._least.get(shard, 0) if count is None else count)
            if count is None:
                return

    def _positions(self) -> Iterator[int]:
        """Positions in the order of the shards: first numbers alone, as far as rows are sure; then, once live, with their rows.

        What lies behind a shard of unknown length can only be told by reading it.
        """
        for _ in self._sure():
            if self._live is not None:
                break
            self._next += 1
            yield self._next - 1
        if self._live is None:
            self._live = self._read(self._next)
        for position, origin, row in self._live:
            self._held[position] = origin, row
            yield position

    def _go_live(self) -> None:
        """Read the rows that the buffer keeps as numbers alone, and be ready to read on behind the last one that was taken."""
        wanted = set(self._shuffle.kept) - set(self._held)
        if wanted:
            last = max(wanted)
            for position, origin, row in self._read(min(wanted)):
                if position in wanted:
                    self._held[position] = origin, row
                if position == last:
                    break
        if self._live is None:
            self._live = self._read(self._next)

    def _read(self, start: int) -> Iterator[tuple[int, Origin, Row]]:
        """The rows from a position on, before which all rows are sure; counted shards before it are not opened."""
        position = 0
        for shard in self._shards:
            known = self._counts.get(shard)
            if known is not None and position + known <= start:
                position += known
                continue
            number = max(start - position, 0)
            position += number
            for row in self._stream.read(shard, number):
                yield position, Origin(shard, number), row
                position, number = position + 1, number + 1
                self._least[shard] = max(number, self._least.get(shard, 0))
            self._counts[shard] = number
            self._least.pop(shard, None)
