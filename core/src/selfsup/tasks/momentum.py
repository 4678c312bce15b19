"""A moving average of a network: the target of BYOL, MoCo, DINO, TiCo, I-JEPA and data2vec."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any, Generic, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfsup.config import Config

M = TypeVar("M", bound=nn.Module)


class MomentumConfig(Config):
    """How slowly the target network follows the trained one."""

    start: float = Field(default=0.996, ge=0, le=1)
    """Share of the old weights that an update keeps, at the beginning of the run (BYOL: 0.996)."""
    end: float = Field(default=1.0, ge=0, le=1)
    """The same at the end of the run, reached along a cosine (BYOL: 1)."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"the momentum may not fall during the run: start={self.start} is above end={self.end}")
        return self


def cosine_momentum(progress: float, start: float, end: float) -> float:
    """BYOL's schedule, ``end - (end - start) * (cos(pi * progress) + 1) / 2`` (arXiv:2006.07733, section 3.1)."""
    return end - (end - start) * (math.cos(math.pi * min(max(progress, 0.0), 1.0)) + 1) / 2


class MomentumEncoder(nn.Module, Generic[M]):
    """A copy of a module that follows it as an exponential moving average, and never takes a gradient.

    Batch-norm statistics: a copy in training mode keeps those of its own forward passes, which fit its own weights (as in the
    authors' code of MoCo, BYOL and DINO); one in evaluation mode averages the online module's. All other buffers are copied.

    Args:
        online: the module to follow.
        start: momentum of the first update.
        end: momentum of the last one.
    """

    def __init__(self, online: M, start: float, end: float) -> None:
        super().__init__()
        self.start = start
        self.end = end
        self.module: M = deepcopy(online)
        self.module.requires_grad_(False)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The copy's output, without gradient."""
        return self.module(*args, **kwargs)

    def momentum(self, progress: float) -> float:
        """Share of the old weights that an update keeps: here along a cosine; override for another schedule."""
        return cosine_momentum(progress, self.start, self.end)

    @torch.no_grad()
    def update(self, online: nn.Module, progress: float) -> None:
        """Move towards ``online``; ``progress`` is the finished part of the run, 0..1."""
        momentum = self.momentum(progress)
        weights: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(
            weights, [weight.to(mine.dtype) for weight, mine in zip(online.parameters(), weights, strict=True)], 1 - momentum
        )
        for mine, theirs in zip(self.module.modules(), online.modules(), strict=True):
            self._update_buffers(mine, theirs, momentum)

    def _update_buffers(self, mine: nn.Module, theirs: nn.Module, momentum: float) -> None:
        is_norm = isinstance(mine, _BatchNorm)
        if is_norm and mine.training:
            return
        for name, buffer in mine.named_buffers(recurse=False):
            source: Tensor = theirs.get_buffer(name)
            if is_norm and buffer.is_floating_point():
                buffer.lerp_(source.to(buffer.dtype), 1 - momentum)
            else:
                buffer.copy_(source)
