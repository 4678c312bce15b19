"""The teacher of latent prediction: a moving average of the backbone."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from selfsup.backbones import TokenBackbone
from selfsup.tasks.parts.moving_average import MomentumConfig, MomentumEncoder


class TeacherConfig(MomentumConfig):
    """How slowly the teacher follows the trained backbone: linearly from ``start`` to ``end``."""

    start: float = Field(default=0.996, ge=0, le=1)
    """Share of the old weights that an update keeps, at the beginning of the run (I-JEPA 0.996 for 187,671 updates)."""
    end: float = Field(default=1.0, ge=0, le=1)
    """The same once the ramp is done (I-JEPA 1)."""
    ramp: float = Field(default=1.0, gt=0, le=1)
    """Part of the run after which ``end`` is reached (I-JEPA 1, data2vec for speech 0.075: 30k of 400k updates)."""


def linear_momentum(progress: float, start: float, end: float, ramp: float = 1.0) -> float:
    """``start`` to ``end`` along a line over the first ``ramp`` of the run, then constant.

    I-JEPA (arXiv 2301.08243, appendix A.1) ramps over the whole run, data2vec (arXiv 2202.03555, section 3.3) over its
    first updates.
    """
    return start + (end - start) * min(max(progress / ramp, 0.0), 1.0)


class Teacher(MomentumEncoder[TokenBackbone]):
    """A copy of the backbone that follows it, takes no gradient and always runs in evaluation mode (no dropout in targets)."""

    def __init__(self, backbone: TokenBackbone, config: TeacherConfig) -> None:
        super().__init__(backbone, config.start, config.end, config.initial_share)
        self.ramp = config.ramp
        self.module.eval()

    def course(self, progress: float) -> float:
        """Along a line."""
        return linear_momentum(progress, self.start, self.end, self.ramp)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)
