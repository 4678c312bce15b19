"""Losses are computed in float32 at least, whatever the precision of the networks."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is where it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which products are computed in the precision of their operands, on the device of ``x``."""
    return torch.autocast(x.device.type, enabled=False)
