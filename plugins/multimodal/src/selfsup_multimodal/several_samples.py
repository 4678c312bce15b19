"""Rows with several samples, stored concatenated: the captions of a picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from selfsup.data import Sample

Samples = Mapping[str, Tensor | Sequence[Tensor]]
STEPS = ".steps"
"""Suffix of a key: the number of steps of each of a row's samples, [k]."""


def pack(samples: Sequence[Sample]) -> Sample:
    """Concatenate several samples of one row, with their lengths; scalars become [k]."""
    packed: Sample = {}
    for key in samples[0]:
        arrays = [np.asarray(sample[key]) for sample in samples]
        if arrays[0].ndim:
            packed[key] = np.concatenate(arrays)
            packed[key + STEPS] = np.asarray([len(array) for array in arrays], dtype=np.int32)
        else:
            packed[key] = np.stack(arrays)
    return packed


def is_packed(samples: Samples) -> bool:
    """Whether rows hold several samples each."""
    return any(key.endswith(STEPS) for key in samples)


def counts_of(samples: Samples) -> Tensor:
    """[B] long, how many samples each row has."""
    steps = next(values for key, values in samples.items() if key.endswith(STEPS))
    return torch.tensor([len(row) for row in steps])


def unpack(samples: Samples, chosen: Tensor, scalars: Collection[str]) -> dict[str, Tensor | list[Tensor]]:
    """Take one sample of each row.

    Args:
        samples: of :func:`pack`, by key [B, ...] or a list of B tensors.
        chosen: [B] long, the index of each row's sample.
        scalars: keys whose samples are scalars.
    """
    places = chosen.tolist()
    found: dict[str, Tensor | list[Tensor]] = {}
    for key, values in samples.items():
        if key.endswith(STEPS):
            continue
        if key in scalars:
            found[key] = torch.stack([row[place] for row, place in zip(values, places, strict=True)])
            continue
        rows = [_slice(row, steps, place) for row, steps, place in zip(values, samples[key + STEPS], places, strict=True)]
        alike = len({row.shape for row in rows}) == 1
        found[key] = torch.stack(rows) if alike else rows
    return found


def _slice(values: Tensor, steps: Tensor, place: int) -> Tensor:
    start = int(steps[:place].sum())
    return values[start : start + int(steps[place])]
