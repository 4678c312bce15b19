"""In which order the numbers of images, videos and convolution weights lie in memory."""

from __future__ import annotations

import torch
from torch import nn

from selfsup.runtime.precision import Precision


def wants_channels_last(module: nn.Module, choice: bool | None, *, device_type: str, precision: Precision) -> bool:
    """Whether convolution weights shall be in channels-last order; their outputs then are, too, whatever the input is.

    Left to itself (``choice`` None) that is so for 2-d and 3-d convolutions, but not in float32 on a CPU: there is little to
    gain, and torch 2.14's backward pass of narrow float32 convolutions writes out of bounds in that order (8 channels at 64x64
    pixels).
    """
    if choice is not None:
        return choice
    if device_type == "cpu" and precision == "32":
        return False
    return has_convolutions(module)


def has_convolutions(module: nn.Module) -> bool:
    """Whether there are 2-d or 3-d convolutions, whose weights have an order to choose."""
    return any(isinstance(part, nn.Conv2d | nn.Conv3d) for part in module.modules())


def put_channels_last(module: nn.Module) -> None:
    """In place: bring the weights of all 2-d and 3-d convolutions into channels-last order.

    ``module.to(memory_format=...)`` knows one number of dimensions only, and fails on a network that has both.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
        elif isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last_3d)
