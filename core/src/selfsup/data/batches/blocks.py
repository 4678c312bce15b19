"""Join the samples of a store into one sequence and cut it into blocks of equal length, without padding or a copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from selfsup.data.store.format import Store
from selfsup.errors import DataError


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
