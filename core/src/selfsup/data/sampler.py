"""Which rows make up which batch: a function of (seed, epoch) and nothing else."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from selfsup.errors import ConfigError, DataError

IndexArray = np.ndarray[Any, np.dtype[np.int64]]


class Sampler(Protocol):
    """Gives the batches of an epoch."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, epoch: int) -> list[IndexArray]:
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

    def __len__(self) -> int:
        whole, rest = divmod(self.n, self.batch_size * self.world_size)
        return whole if self.drop_last or not rest else whole + 1

    def batches(self, epoch: int) -> list[IndexArray]:
        """This process's batches of an epoch, each int64 [batch_size] (the last one may be shorter without ``drop_last``)."""
        order = self._order(epoch)
        step = self.batch_size * self.world_size
        batches = []
        for start in range(0, len(self) * step, step):
            rows = order[start : start + step]
            if short := -len(rows) % self.world_size:
                rows = np.concatenate([rows, np.resize(order, short)])
            share = len(rows) // self.world_size
            batches.append(rows[self.rank * share : (self.rank + 1) * share])
        return batches

    def _order(self, epoch: int) -> IndexArray:
        if not self.shuffle:
            return np.arange(self.n, dtype=np.int64)
        return np.random.default_rng((self.seed, epoch)).permutation(self.n).astype(np.int64, copy=False)
