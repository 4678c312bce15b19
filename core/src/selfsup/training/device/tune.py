"""What makes a training step faster, or right, on one kind of device: :func:`tune_for_device` does all of it."""

from __future__ import annotations

import torch
from torch import nn

from selfsup.runtime.precision import Precision
from selfsup.training.device.attention import attend_in_float32
from selfsup.training.device.short_clips import pad_short_clips
from selfsup.training.device.small_feature_maps import multiply_small_maps


def tune_for_device(
    module: nn.Module, device: torch.device, precision: Precision, *, channels_last: bool | None = None
) -> None:
    """Move a module to its device, and change in place what computes faster there. Names and values of weights stay.

    - The weights of 2-d and 3-d convolutions are put in channels-last order; their outputs then are, too.
    - On a CPU, convolutions of small maps become matrix products, those of short clips pad by themselves, and attention is
      computed in float32 in a forward pass under autocast.

    Args:
        module: what is trained.
        device: where.
        precision: of the training.
        channels_last: whether to use that order; None: unless it is float32 on a CPU, where there is little to gain, and the
            backward pass of torch 2.14's narrow convolutions writes out of bounds (8 channels at 64x64 pixels).
    """
    module.to(device)
    if channels_last or (channels_last is None and not (device.type == "cpu" and precision == "32")):
        put_channels_last(module)
    if device.type == "cpu":
        multiply_small_maps(module)
        pad_short_clips(module)
        attend_in_float32(module)


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
