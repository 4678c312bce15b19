"""Correlations of two series of numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def pearson(x: Tensor, y: Tensor) -> float:
    """Pearson's correlation of two [N]; 0 where one of them does not vary."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    scale = float(x.norm() * y.norm())
    return float(x @ y) / scale if scale > 0 else 0.0


def spearman(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of two [N]: Pearson's of the ranks, ties sharing their mean rank."""
    return pearson(ranks(x), ranks(y))


def ranks(values: Tensor) -> Tensor:
    """[N] float64, the mean rank of each value among all, from 1."""
    _, group, counts = torch.unique(values.double(), return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    mean: Tensor = (last - (counts.double() - 1) / 2)[group]
    return mean
