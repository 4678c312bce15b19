"""The raw-feature baseline."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.types import Batch, Info

_BUCKETS = 64


def raw_features(batch: Batch, info: Info) -> Tensor:
    """[B, F] float: how often each id occurs (ids modulo 64), or the mean and deviation of each channel over time."""
    sequence = batch["sequence"]
    padding = batch.get("padding", torch.zeros(sequence.shape[:2], dtype=torch.bool, device=sequence.device))
    real = (~padding).float().unsqueeze(-1)
    count = real.sum(dim=1)
    if not sequence.is_floating_point():
        return (F.one_hot(sequence % _BUCKETS, _BUCKETS) * real).sum(dim=1) / count
    mean = (sequence * real).sum(dim=1) / count
    variance = ((sequence - mean.unsqueeze(1)).square() * real).sum(dim=1) / count
    return torch.cat([mean, variance.sqrt()], dim=1)
