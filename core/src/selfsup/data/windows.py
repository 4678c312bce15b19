"""Which part of a long sample a batch shows: another one in every epoch of training, and one and the same otherwise."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from selfsup.data.processor import Processor
from selfsup.data.sampler import IndexArray
from selfsup.data.store import Store

Draw = tuple[int, int]
"""Seed of the run, and epoch: what a window of training depends on, beside the number of the sample."""


def read_windows(
    store: Store, processor: Processor, indices: IndexArray, draw: Draw | None = None
) -> dict[str, Tensor | list[Tensor]]:
    """Samples of a store as a batch shows them; of a longer one only its window is read.

    The window of a sample is a function of seed, epoch and the sample's number. So it is the same in whichever process, batch
    or place of a batch the sample is read, and after a run was resumed.

    Args:
        store: processed rows.
        processor: made the store; says how long a window is (:attr:`Processor.window_key`).
        indices: [B] int64, numbers of samples.
        draw: of training; None: the window that evaluation takes.
    """
    key = processor.window_key
    if not key or key not in store.fields:
        return store.read(indices)
    steps, shown = store.steps(key, indices), processor.window_steps
    longer = np.flatnonzero(steps > shown)
    if not len(longer):
        return store.read(indices)
    first = np.zeros(len(indices), dtype=np.int64)
    for place in longer.tolist():
        generator = None if draw is None else np.random.default_rng((*draw, int(indices[place])))
        first[place] = processor.window_start(int(steps[place]), generator)
    return store.read(indices, {key: (first, np.minimum(steps, shown))})


def shown_lengths(store: Store, processor: Processor) -> IndexArray | None:
    """As :meth:`Store.total_lengths`, of what batches show: None where all samples are of one length there."""
    key = processor.window_key
    lengths = store.total_lengths()
    if lengths is None or not key or (steps := store.lengths(key)) is None:
        return lengths
    lengths = lengths - np.maximum(steps - processor.window_steps, 0)
    return None if (lengths == lengths[0]).all() else lengths
