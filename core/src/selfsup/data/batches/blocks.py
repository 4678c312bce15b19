"""Join samples into one sequence and cut it into blocks of equal length, without padding: of a store, or of a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from selfsup.data.samples import Sample
from selfsup.data.store.format import Store
from selfsup.errors import DataError


class BlockCutter:
    """Joins the samples of a stream, one behind the other, and cuts them into blocks; steps that fill none wait for more.

    Args:
        length: steps of a block.
        skip: steps of the first sample that belong to a block before.
    """

    def __init__(self, length: int, skip: int = 0) -> None:
        self._length, self._skip = length, skip
        self._waiting: deque[tuple[Sample, int]] = deque()
        self._steps = 0

    @property
    def begun(self) -> int:
        """Steps of the first waiting sample that blocks have already; 0: it is whole, or none waits."""
        return self._waiting[0][1] if self._waiting else 0

    def add(self, sample: Sample) -> Iterator[Sample]:
        """The blocks that are full with one more sample.

        Raises:
            DataError: its keys differ in their steps.
        """
        steps = {key: len(values) if values.ndim else 1 for key, values in sample.items()}
        count = min(steps.values())
        if any(not values.ndim for values in sample.values()) or max(steps.values()) != count:
            raise DataError(f"The keys {', '.join(sample)} differ in their steps: samples cannot be joined into blocks.")
        skipped, self._skip = min(self._skip, count), 0
        if count > skipped:
            self._waiting.append((sample, skipped))
            self._steps += count - skipped
        while self._steps >= self._length:
            yield self._cut()

    def _cut(self) -> Sample:
        parts, missing = list[Sample](), self._length
        while missing:
            sample, start = self._waiting.popleft()
            total = len(next(iter(sample.values())))
            end = min(start + missing, total)
            parts.append({key: values[start:end] for key, values in sample.items()})
            missing -= end - start
            if end < total:
                self._waiting.appendleft((sample, end))
        self._steps -= self._length
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


class BlockStore(Store):
    """A store seen as blocks: a store keeps its samples one behind the other, so that a block is one read of its file.

    Samples number ``length`` steps each; what is left at the end of the stream is not used. ``kept`` says in which row each
    block begins.

    Args:
        path: of the store. Each of its keys has at least one dimension, and all have as many steps in every sample.
        length: steps of a block.

    Raises:
        StorageError: it is not a store, or damaged.
        DataError: the samples have no steps that could be joined, or together not one block of them.
    """

    def __init__(self, path: str | Path, length: int) -> None:
        super().__init__(path)
        ends = {}
        for key, field in self.fields.items():
            if key in self._starts:
                ends[key] = self._starts[key][1:]
            elif field.shape:
                ends[key] = np.arange(1, self._n + 1, dtype=np.int64) * field.shape[0]
            else:
                raise DataError(f"The key {key!r} of the samples is a single number: samples cannot be joined into blocks.")
        first = next(iter(ends.values()))
        if any(not np.array_equal(first, other) for other in ends.values()):
            raise DataError(f"The keys {', '.join(ends)} differ in their steps: samples cannot be joined into blocks.")
        total = int(first[-1])
        if total < length:
            raise DataError(
                f"All rows together have {total} steps, too few for one block of {length}. Give more rows, or change the "
                "processor's options (for text: --set processor.max_length=N, or --set processor.packing=none)."
            )
        for key, field in self.fields.items():
            trailing = field.shape if key in self._starts else field.shape[1:]
            self.fields[key] = replace(field, shape=(length, *trailing), starts="")
        self._n = total // length
        self.kept = self.kept[np.searchsorted(first, np.arange(self._n, dtype=np.int64) * length, side="right")]
        self._starts = {}
