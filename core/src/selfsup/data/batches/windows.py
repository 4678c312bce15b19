"""Choose which window of a long sample a batch shows: a random one per epoch in training, else a fixed one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from selfsup.data.batches.permutation import IndexArray
from selfsup.data.processor import Processor
from selfsup.data.samples import Sample
from selfsup.data.store.format import Store

Draw = tuple[int, int]
"""Seed of the run, and epoch: what a window of training depends on, beside the number of the sample."""


def read_windows(
    store: Store, processor: Processor, indices: IndexArray, draw: Draw | None = None, *, whole: bool = False
) -> dict[str, Tensor | list[Tensor]]:
    """Samples of a store as a batch shows them; of a longer one only its window is read.

    The window of a sample is a function of seed, epoch and the sample's number. So it is the same in whichever process, batch
    or place of a batch the sample is read, and after a run was resumed. Where samples have several windows (a video and its
    sound), each is drawn from a generator of the same state, so that they lie at about the same share of the way.

    Args:
        store: processed rows.
        processor: made the store; says how long a window is (:meth:`Processor.windowed`).
        indices: [B] int64, numbers of samples.
        draw: of training; None: the window that evaluation takes.
        whole: read in full what :meth:`Processor.collate_whole` wants so.
    """
    windows: dict[str, tuple[IndexArray, IndexArray]] = {}
    in_full = processor.takes_whole() if whole else {}
    for key, owner in processor.windowed().items():
        if key not in store.fields or key in in_full:
            continue
        steps, shown = store.steps(key, indices), owner.window_steps
        longer = np.flatnonzero(steps > shown)
        if not len(longer):
            continue
        first = np.zeros(len(indices), dtype=np.int64)
        for place in longer.tolist():
            generator = None if draw is None else np.random.default_rng((*draw, int(indices[place])))
            first[place] = owner.window_start(int(steps[place]), generator)
        windows[key] = (first, np.minimum(steps, shown))
    return store.read(indices, windows)


def cut_windows(
    samples: Sequence[Sample], processor: Processor, draws: Sequence[tuple[int, ...]], *, whole: bool = False
) -> list[Sample]:
    """As :func:`read_windows`, of samples that lie in memory.

    Args:
        samples: of :meth:`Processor.encode`.
        processor: made them.
        draws: of each sample, the numbers that its window follows from.
        whole: leave in full what :meth:`Processor.collate_whole` wants so.
    """
    in_full = processor.takes_whole() if whole else {}
    owners = {key: owner for key, owner in processor.windowed().items() if key not in in_full}
    cut = []
    for sample, draw in zip(samples, draws, strict=True):
        own = dict(sample)
        for key, owner in owners.items():
            if key in own and (steps := len(own[key])) > owner.window_steps:
                start = owner.window_start(steps, np.random.default_rng(draw))
                own[key] = own[key][start : start + owner.window_steps]
        cut.append(own)
    return cut


def shown_lengths(store: Store, processor: Processor) -> IndexArray | None:
    """As :meth:`Store.total_lengths`, of what batches show: None where all samples are of one length there."""
    lengths = store.total_lengths()
    if lengths is None:
        return None
    for key, owner in processor.windowed().items():
        if key in store.fields and (steps := store.lengths(key)) is not None:
            lengths = lengths - np.maximum(steps - owner.window_steps, 0)
    return None if processor.windowed() and (lengths == lengths[0]).all() else lengths
