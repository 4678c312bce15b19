"""Decide which rows make up which batch: a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from selfsup.data.batches.permutation import ComputedBatches, IndexArray, OrderedByLength, Permutation
from selfsup.data.batches.work_division import WorkDivision
from selfsup.errors import ConfigError, DataError

MOST_IN_MEMORY = 1 << 27
"""Samples whose order is drawn at once (1 GB for each process); of more it is computed batch by batch."""
_SORTED_BATCHES = 64
"""Batches among which samples are sorted by length: the padding that is left is a few per cent, the batches still vary."""


class Sampler(Protocol):
    """Gives the batches of an epoch."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, epoch: int) -> Sequence[IndexArray]:
        """Per batch the int64 indices of its samples."""
        ...


class EpochSampler:
    """Batches of a (shuffled) epoch for one of several processes.

    All processes draw the same order and take their own part of every global batch, so that the global batches of W processes
    with B rows each are those of one process with W·B rows.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int = 0,
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        lengths: IndexArray | None = None,
    ) -> None:
        """Check the sizes.

        Args:
            n: number of samples.
            batch_size: samples in a batch of one process.
            seed: of the order; 0 or more.
            drop_last: leave out a last batch that is not full. Where it is kept and there are several processes, it is filled
                up from the epoch's beginning to a multiple of ``world_size``, so that no process goes without.
            rank: number of this process.
            world_size: number of processes.
            shuffle: whether the order changes by epoch; False: the order of the samples.
            lengths: [n] int64, how long each sample is. With ``shuffle``, samples of like length then come together, so that
                little is computed on padding: every 64 batches are sorted by length, and the batches shuffled.

        Raises:
            DataError: there are no samples, or fewer than a batch holds.
            ConfigError: a number is out of range.
        """
        if n < 1:
            raise DataError("There are no rows to make batches of.")
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} is not allowed; it is 1 or more.")
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank={rank} is not one of world_size={world_size} processes.")
        if seed < 0:
            raise ConfigError(f"seed={seed} is not allowed; it is 0 or more.")
        if drop_last and batch_size * world_size > n:
            several = f" on each of {world_size} processes" if world_size > 1 else ""
            raise DataError(
                f"batch_size={batch_size}{several} is larger than the data, which has {n} row{'' if n == 1 else 's'}. "
                f"Choose --batch-size {max(n // world_size, 1)} or less, or give more data."
            )
        self.n, self.batch_size, self.seed, self.drop_last = n, batch_size, seed, drop_last
        self.rank, self.world_size, self.shuffle = rank, world_size, shuffle
        if lengths is not None and len(lengths) != n:
            raise DataError(f"There are {len(lengths)} lengths for {n} samples.")
        self._lengths = lengths if shuffle else None

    def __len__(self) -> int:
        whole, rest = divmod(self.n, self.batch_size * self.world_size)
        return whole if self.drop_last or not rest else whole + 1

    def batches(self, epoch: int) -> Sequence[IndexArray]:
        """This process's batches of an epoch, each int64 [batch_size] (the last one may be shorter without ``drop_last``)."""
        step = self.batch_size * self.world_size
        if self.n > MOST_IN_MEMORY:
            return self._computed(epoch, step)
        order = self._order(epoch)
        batches = []
        for start in range(0, len(self) * step, step):
            rows = order[start : start + step]
            if short := -len(rows) % self.world_size:
                rows = np.concatenate([rows, np.resize(order, short)])
            share = len(rows) // self.world_size
            batches.append(rows[self.rank * share : (self.rank + 1) * share])
        return batches

    def _computed(self, epoch: int, step: int) -> ComputedBatches:
        """The same of very many samples, in another order."""
        order: Callable[[IndexArray], IndexArray] = _as_they_are
        if self.shuffle:
            order = permutation = Permutation(self.n, (self.seed, epoch))
            if self._lengths is not None:
                order = OrderedByLength(permutation, self._lengths, step, _SORTED_BATCHES, (self.seed, epoch))

        def rows(number: int) -> IndexArray:
            share = -(-min(step, self.n - number * step) // self.world_size)
            start = number * step + self.rank * share
            places = np.arange(start, start + share)
            if start < self.n < start + share:  # the last batch is filled up from the beginning
                return np.concatenate([order(places[places < self.n]), order(places[places >= self.n] - self.n)])
            return order(places % self.n)

        return ComputedBatches(range(len(self)), rows)

    def _order(self, epoch: int) -> IndexArray:
        if not self.shuffle:
            return np.arange(self.n, dtype=np.int64)
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(self.n).astype(np.int64, copy=False)
        if self._lengths is not None:
            _sort_by_length(order, self._lengths, self.batch_size * self.world_size, generator)
        return order


def _as_they_are(places: IndexArray) -> IndexArray:
    return places


def _sort_by_length(order: IndexArray, lengths: IndexArray, step: int, generator: np.random.Generator) -> None:
    """Bring samples of like length together, in place, within whole batches of ``step`` samples.

    What is left over behind the last whole batch stays: which samples an epoch leaves out does not depend on their length.
    """
    whole = len(order) // step * step
    for start in range(0, whole, _SORTED_BATCHES * step):
        part = order[start : min(start + _SORTED_BATCHES * step, whole)]
        part[:] = part[np.argsort(lengths[part], kind="stable")]
    batches = order[:whole].reshape(-1, step)
    batches[:] = batches[generator.permutation(len(batches))]
    # Each process takes a part of a batch, and no process always gets the longest samples.
    batches[:] = generator.permuted(batches, axis=1)


class LengthSampler:
    """Every sample once, in batches of samples of like length, so that little is computed on padding; all epochs are alike.

    Args:
        lengths: [N] int64, steps of each sample.
        batch_size: samples of a batch; the last one may be shorter.
    """

    def __init__(self, lengths: IndexArray, batch_size: int) -> None:
        order = np.argsort(lengths, kind="stable").astype(np.int64)
        self._batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    def __len__(self) -> int:
        return len(self._batches)

    def batches(self, epoch: int) -> list[IndexArray]:
        """The batches, each int64 [batch_size]; ``epoch`` makes no difference."""
        return self._batches


class DividedSampler:
    """This process's batches of a sampler whose batches are divided over processes.

    Args:
        sampler: the same on all processes.
        division: of its batches.
    """

    def __init__(self, sampler: Sampler, division: WorkDivision) -> None:
        self._sampler, self._division = sampler, division

    def __len__(self) -> int:
        return len(self._division.own(range(len(self._sampler))))

    def batches(self, epoch: int) -> Sequence[IndexArray]:
        """The batches of this process; those that are computed stay so."""
        return self._division.own(self._sampler.batches(epoch))
