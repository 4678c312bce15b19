"""Random draws on the device: uniform numbers, and subsets of a fixed size."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def uniform(
    shape: tuple[int, ...], low: float, high: float, *, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Uniform float32 numbers in [low, high)."""
    return torch.rand(shape, generator=generator, device=device).mul_(high - low).add_(low)


def random_subset(
    n: int, probability: float, *, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A random subset of n samples whose size is known without a sync, so that only its members are processed.

    Each sample is in it and active with exactly ``probability``. Unlike with n coin flips, the number of active samples is
    always ``n * probability`` rounded up or down, so that samples are not quite independent.

    Returns:
        Indices [k] long, k = ceil(n * probability), and active [k] bool. Only the last may be inactive, for the
        fraction of ``n * probability``.
    """
    wanted = n * probability
    k = min(math.ceil(wanted - 1e-9), n)
    index = torch.rand(n, generator=generator, device=device).argsort()[:k]
    chance = torch.rand(k, generator=generator, device=device)
    certain = torch.arange(k, device=device) < k - 1
    return index, certain | (chance < wanted - (k - 1))
