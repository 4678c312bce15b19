"""Ridge regression for any number of penalties with one decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 4_096
"""Rows that are converted to float64 at once."""


@dataclass(frozen=True)
class Ridge:
    """A fitted linear regression."""

    weight: Tensor
    """[D] float64, or [D, C] of several targets."""
    bias: Tensor
    """[] or [C] float64."""

    def predict(self, features: Tensor) -> Tensor:
        """[N, D] features to [N] or [N, C] float64."""
        return features.double() @ self.weight + self.bias


@torch.no_grad()
def fit_ridge(features: Tensor, targets: Tensor, l2: Sequence[float]) -> list[Ridge]:
    """Fit one regression for each penalty: minimise half the mean squared error + l2/2 |w|², with an unpenalised bias.

    This is what ``sklearn.linear_model.Ridge(alpha=N l2)`` minimises. One eigendecomposition, of the smaller of XᵀX and XXᵀ,
    is used for all penalties. Sums are in float64.

    Args:
        features: [N, D].
        targets: [N] or [N, C].
        l2: penalties, above 0.
    """
    n, d = features.shape
    centre = features.double().mean(dim=0)
    y = targets.double()
    mean = y.mean(dim=0)
    y = y - mean
    if d <= n:
        gram = torch.zeros(d, d, dtype=torch.float64, device=features.device)
        moment = torch.zeros((d, *y.shape[1:]), dtype=torch.float64, device=features.device)
        for first in range(0, n, _CHUNK):
            x = features[first : first + _CHUNK].double() - centre
            gram += x.T @ x
            moment += x.T @ y[first : first + _CHUNK]
        values, vectors = torch.linalg.eigh(gram / n)
        rotated, back = vectors.T @ (moment / n), vectors
    else:
        x = features.double() - centre
        values, vectors = torch.linalg.eigh(x @ x.T / n)
        rotated, back = vectors.T @ y / n, x.T @ vectors
    values = values.clamp_min(0)
    found = []
    for penalty in l2:
        scale = 1 / (values + penalty)
        weight = back @ (rotated * (scale if rotated.dim() == 1 else scale.unsqueeze(1)))
        found.append(Ridge(weight, mean - centre @ weight))
    return found
