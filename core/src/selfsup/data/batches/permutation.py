"""The order of an epoch of very many samples, computed batch by batch: nothing of it lies in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from selfsup.data.store.content_hash import mixed

IndexArray = np.ndarray[Any, np.dtype[np.int64]]
"""[n] int64, places of rows."""
_ROUNDS = 6


class Permutation:
    """A pseudo-random order of 0..n-1 that gives the number at any place without the ones before it.

    A Feistel network permutes the numbers of the fewest bits that hold n; what falls outside is permuted again until it falls
    inside, at most once on average (cycle walking; Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").

    Args:
        n: how many numbers; 1 or more.
        seed: of the order.
    """

    def __init__(self, n: int, seed: Sequence[int]) -> None:
        bits = max((n - 1).bit_length(), 2)
        self.n, self._left, self._right = n, bits // 2, bits - bits // 2
        self._keys = np.random.default_rng(tuple(seed)).integers(2**63, size=_ROUNDS).astype(np.uint64)

    def __call__(self, places: IndexArray) -> IndexArray:
        """[k] int64: the numbers at k places."""
        numbers = self._once(places.astype(np.uint64))
        while len(outside := np.flatnonzero(numbers >= self.n)):
            numbers[outside] = self._once(numbers[outside])
        found: IndexArray = numbers.astype(np.int64)
        return found

    def _once(self, numbers: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
        widths = self._left, self._right
        high, low = numbers >> np.uint64(self._right), numbers & np.uint64((1 << self._right) - 1)
        for key in self._keys:  # of an even number: both halves have their own width again
            high, low = low, high ^ (mixed(low ^ key) & np.uint64((1 << widths[0]) - 1))
            widths = widths[1], widths[0]
        return (high << np.uint64(self._right)) | low


class ComputedBatches(Sequence[IndexArray]):
    """Batches that are computed when they are asked for.

    Args:
        numbers: of the batches, in their order.
        compute: gives the rows of a batch, by its number.
    """

    def __init__(self, numbers: range, compute: Callable[[int], IndexArray]) -> None:
        self._numbers, self._compute = numbers, compute

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> IndexArray: ...
    @overload
    def __getitem__(self, place: slice) -> ComputedBatches: ...
    def __getitem__(self, place: int | slice) -> IndexArray | ComputedBatches:
        if isinstance(place, slice):
            return ComputedBatches(self._numbers[place], self._compute)
        return self._compute(self._numbers[place])


class OrderedByLength:
    """Rows in a random order in which those of like length come together: within groups of batches they are sorted.

    Args:
        order: gives the rows at places.
        lengths: [n] int64, how long each row is.
        step: rows of a batch of all processes.
        batches: in a group.
        seed: of the order of the batches in a group, and of the rows in a batch.
    """

    def __init__(self, order: Permutation, lengths: IndexArray, step: int, batches: int, seed: Sequence[int]) -> None:
        self._order, self._lengths, self._step, self._size, self._seed = order, lengths, step, batches * step, tuple(seed)
        self._whole = order.n // step * step
        self._group, self._rows = -1, np.zeros(0, dtype=np.int64)

    def __call__(self, places: IndexArray) -> IndexArray:
        """[k] int64: the rows at k consecutive places of one batch; those behind the last whole batch are not sorted."""
        first = int(places[0])
        if first >= self._whole:
            return self._order(places)
        group = first // self._size
        if group != self._group:
            self._rows, self._group = self._sorted(group), group
        return self._rows[places - group * self._size]

    def _sorted(self, group: int) -> IndexArray:
        begin = group * self._size
        rows = self._order(np.arange(begin, min(begin + self._size, self._whole)))
        batches = rows[np.argsort(self._lengths[rows], kind="stable")].reshape(-1, self._step)
        generator = np.random.default_rng((*self._seed, group))
        batches = generator.permuted(batches[generator.permutation(len(batches))], axis=1)
        return batches.reshape(-1)
