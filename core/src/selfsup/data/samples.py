"""Processed rows: samples, tables of samples, and samples stacked for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Sample = dict[str, np.ndarray[Any, Any]]
"""One processed row: key to array. Shapes differ between rows in the first dimension only."""


class EncodedTable(NamedTuple):
    """Many rows processed at once."""

    samples: dict[str, np.ndarray[Any, Any]]
    """Key to [n, ...], one entry per row; entries of bad rows have no meaning."""
    bad: dict[int, str]
    """Index of each row that cannot be used, 0 to n - 1, and why."""


def stack_samples(samples: Sequence[Sample]) -> dict[str, Tensor | list[Tensor]]:
    """By key: one tensor [B, ...] if all shapes agree, else the list of tensors."""
    columns: dict[str, Tensor | list[Tensor]] = {}
    for key in samples[0] if samples else ():
        arrays = [np.asarray(sample[key]) for sample in samples]
        if len({array.shape for array in arrays}) == 1:
            columns[key] = torch.from_numpy(np.stack(arrays))
        else:
            columns[key] = [torch.from_numpy(array) for array in arrays]
    return columns
