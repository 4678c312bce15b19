"""Random draws on the device."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(
    shape: tuple[int, ...], low: float, high: float, *, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Uniform float32 numbers in [low, high)."""
    return torch.rand(shape, generator=generator, device=device).mul_(high - low).add_(low)
