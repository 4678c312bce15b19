"""A moving average of the encoder's weights, which then is what a run leaves."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a module: ``average = decay * average + (1 - decay) * module`` after each step.

    Floating-point buffers (a norm's statistics) are averaged as the weights are; others are copied. To keep the first steps
    from weighing on short runs, the decay is at most ``(1 + step) / (10 + step)`` (the ramp of TensorFlow's
    ``ExponentialMovingAverage``): after ten steps a hundred-thousandth of the average is still its start.

    Args:
        module: what to follow; ``self.module`` is its averaged copy.
        decay: in 0..1, per step.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take the weights of step ``step`` (counted from 0) in; a handful of kernels, no wait for the device."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        mine, theirs = _floating(self.module), _floating(module)
        torch._foreach_lerp_(mine, theirs, weight)
        for own, other in zip(self.module.buffers(), module.buffers(), strict=True):
            if not own.is_floating_point():
                own.copy_(other)


def _floating(module: nn.Module) -> list[Tensor]:
    tensors = [*module.parameters(), *module.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
