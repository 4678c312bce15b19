"""Alignment and uniformity as a loss (Wang and Isola 2020, arXiv 2005.10242)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of positive pairs, both [B, P] of unit length; equation 1 with exponent 2."""
    return (a - b).square().sum(dim=1).mean()


def uniformity(a: Tensor) -> Tensor:
    """Logarithm of the mean Gaussian potential between the samples [B, P] of unit length; equation 2 with t = 2."""
    squared = 2 - 2 * a @ a.T
    others = 1 - torch.eye(len(a), device=a.device, dtype=a.dtype)
    return ((squared * -2).exp() * others).sum().div(others.sum()).log()


class SpreadConfig(Config):
    """Options of the example's loss."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of uniformity; 1 in the paper."""
    output_dim: int = Field(default=64, ge=2)
    """Width of the projection."""


class Spread(JointEmbeddingObjective):
    """Alignment plus weighted uniformity."""

    Config = SpreadConfig

    def __init__(self, config: SpreadConfig) -> None:
        super().__init__()
        self.config = config

    def build_projector(self, embed_dim: int) -> nn.Module:
        """One linear layer."""
        return nn.Linear(embed_dim, self.config.output_dim)

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of the first two views."""
        a, b = (F.normalize(view, dim=1) for view in embeddings.online[:2])
        aligned, spread = alignment(a, b), (uniformity(a) + uniformity(b)) / 2
        return LossOutput(aligned + self.config.weight * spread, {"alignment": aligned.detach(), "uniformity": spread.detach()})


recipe = ObjectiveRecipe(config=SpreadConfig, build=Spread)
