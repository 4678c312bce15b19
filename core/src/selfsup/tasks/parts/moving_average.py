"""A moving average of a network: the target of BYOL, MoCo, DINO, TiCo, I-JEPA and data2vec, or the encoder of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, Generic, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfsup.config import Config

M = TypeVar("M", bound=nn.Module)


class MomentumConfig(Config):
    """How slowly the target network follows the trained one.

    A paper's momenta are made for its hundreds of thousands of updates. After 200 of them at BYOL's 0.996, two thirds of the
    average would still be its random start; so short runs take a power of them (:func:`power_of_short_runs`). BYOL's authors do
    alike: 0.996 for 1000 epochs, 0.99 for 300 and fewer (arXiv:2006.07733, appendix).
    """

    start: float = Field(default=0.996, ge=0, le=1)
    """Share of the old weights that an update keeps, at the beginning of the run (BYOL: 0.996)."""
    end: float = Field(default=1.0, ge=0, le=1)
    """The same at the end of the run, reached along a cosine (BYOL: 1)."""
    initial_share: float | None = Field(default=0.02, gt=0, lt=1)
    """Largest share of the average that may be its random start after the last update.

    Runs too short for that raise all momenta to one power; longer ones, the paper's among them, have them as they are. None: as
    they are in all runs, which is what setting another ``start`` or ``end`` brings.
    """

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, values: Any) -> Any:
        own = isinstance(values, dict) and "initial_share" not in values and {"start", "end", "ramp"} & set(values)
        return {**values, "initial_share": None} if own else values

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"the momentum may not fall during the run: start={self.start} is above end={self.end}")
        return self


def cosine_momentum(progress: float, start: float, end: float) -> float:
    """BYOL's schedule, ``end - (end - start) * (cos(pi * progress) + 1) / 2`` (arXiv:2006.07733, section 3.1)."""
    return end - (end - start) * (math.cos(math.pi * min(max(progress, 0.0), 1.0)) + 1) / 2


def ramped_momentum(step: int, momentum: float) -> float:
    """The momentum of update ``step``, counted from 0: ``(1 + step) / (10 + step)`` until it reaches ``momentum``.

    This is the ramp of TensorFlow's ``ExponentialMovingAverage``: after ten updates a hundred-thousandth of the average is its
    start, so short runs do not keep it.
    """
    return min(momentum, (1 + step) / (10 + step))


def log_share(momenta: Iterable[float], enough: float = -50.0) -> float:
    """Logarithm of the share of an average that is still its start: the sum of the logarithms of its momenta.

    Args:
        momenta: of the updates, in 0..1.
        enough: stop where the sum is below this.
    """
    total = 0.0
    for momentum in momenta:
        total += math.log(momentum) if momentum > 0 else -math.inf
        if total < enough:
            break
    return total


def power_of_short_runs(momenta: Iterable[float], initial_share: float) -> float:
    """The power, at least 1, to which momenta are raised so that ``initial_share`` of the start is left at most.

    A momentum m at ``power`` updates to one is m ** power (Busbridge et al. 2023, arXiv:2307.13813, the scaling rule of moving
    averages, which has batches in the place of updates). The power that would give the paper's share exactly, its number of
    updates against the run's, is hundreds for short runs: the teacher would be the student, and its targets lose their spread.

    Args:
        momenta: of all updates of the run, as the paper has them.
        initial_share: in 0..1.
    """
    wanted = math.log(initial_share)
    total = log_share(momenta, wanted)
    return max(1.0, wanted / total) if total < 0 else 1.0


class MomentumEncoder(nn.Module, Generic[M]):
    """A copy of a module that follows it as an exponential moving average, and never takes a gradient.

    Batch-norm statistics: a copy in training mode keeps those of its own forward passes, which fit its own weights (as in the
    authors' code of MoCo, BYOL and DINO); one in evaluation mode averages the online module's. All other buffers are copied.

    The copy's weights are in float32 at least, whatever the online module's: an average in bf16 would stand still at a momentum
    of 0.999, as a thousandth of a difference is below half of the last of its 8 significant bits.

    Args:
        online: the module to follow.
        start: momentum of the first update.
        end: momentum of the last one.
        initial_share: see :class:`MomentumConfig`; it takes a call of :meth:`fit_to_run`.
    """

    def __init__(self, online: M, start: float, end: float, initial_share: float | None = None) -> None:
        super().__init__()
        self.start = start
        self.end = end
        self.initial_share = initial_share
        self.power = 1.0
        """What the momenta are raised to; set by :meth:`fit_to_run`."""
        self.module: M = deepcopy(online)
        self.module.requires_grad_(False)
        for weight in self.module.parameters():
            if weight.dtype in (torch.bfloat16, torch.float16):
                weight.data = weight.data.float()

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The copy's output, without gradient."""
        return self.module(*args, **kwargs)

    def fit_to_run(self, total_steps: int) -> None:
        """Fit the momenta to a run of so many updates. A run that goes on calls this again, with the same result."""
        if self.initial_share is not None:
            self.power = power_of_short_runs((self.course(p) for p in _after_each(total_steps)), self.initial_share)

    def share_left(self, total_steps: int) -> float:
        """Share of the copy that is still its random start after so many updates of a run of that length."""
        return math.exp(log_share(self.momentum(progress) for progress in _after_each(total_steps)))

    def course(self, progress: float) -> float:
        """The momentum as the paper has it: here along a cosine; override for another course."""
        return cosine_momentum(progress, self.start, self.end)

    def momentum(self, progress: float) -> float:
        """Share of the old weights that an update keeps."""
        return float(self.course(progress) ** self.power)

    def update(self, online: nn.Module, progress: float) -> None:
        """Move towards ``online``; ``progress`` is the finished part of the run, 0..1."""
        self.move(online, self.momentum(progress))

    @torch.no_grad()
    def move(self, online: nn.Module, momentum: float) -> None:
        """Keep ``momentum`` of the weights, and take the rest from ``online``; a few kernels, no wait for the device."""
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


def _after_each(total_steps: int) -> Iterator[float]:
    """The finished part of a run after each of its updates."""
    return (step / total_steps for step in range(1, total_steps + 1))


def kept_initial_share(task: nn.Module, kept: nn.Module, total_steps: int) -> float:
    """Share of a network that is still its random start after a run; 0 where it is no moving average.

    Args:
        task: has the moving averages.
        kept: the network, trained or a part of a moving average.
        total_steps: updates of the run.
    """
    for average in task.modules():
        if isinstance(average, MomentumEncoder) and any(part is kept for part in average.module.modules()):
            return average.share_left(total_steps)
    return 0.0
