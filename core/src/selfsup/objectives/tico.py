"""TiCo's loss: transformation invariance, and contrast with the covariance of past embeddings."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import counted, counted_everywhere, in_both_views, only_valid, valid_mean
from selfsup.runtime.distributed import mean_over_ranks, sum_over_ranks


def tico(
    a: Tensor, b: Tensor, covariance: Tensor, beta: float, rho: float, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """TiCo (Zhu et al. 2022, arXiv:2206.10698, equation 6), the distance written as 1 - cos as in its algorithm 1.

    Args:
        a: [B, P], embeddings of one view, with gradient; scaled to unit length here, as ``b`` is.
        b: [B, P], of another view, from the momentum network.
        covariance: [P, P], second moment of past embeddings.
        beta: share of the old second moment that is kept.
        rho: weight of the contrast.
        valid: [B] bool, the samples that count; None: all. Where none does, the second moment stays.

    Returns:
        The loss, and the new second moment (without gradient), which the loss has used already.
    """
    a, b = F.normalize(only_valid(a, valid), dim=1), F.normalize(only_valid(b, valid), dim=1)
    former = covariance.to(a.dtype)
    if valid is None:
        moment = mean_over_ranks(a.detach().T @ a.detach() / len(a))
        moment = beta * former + (1 - beta) * moment
        invariance = 1 - (a * b).sum(dim=1).mean()
    else:
        n = counted_everywhere(valid, a)
        moment = sum_over_ranks(a.T @ a) / n.clamp_min(1)
        moment = torch.where(n > 0, beta * former + (1 - beta) * moment, former)
        invariance = valid_mean(1 - (a * b).sum(dim=1), valid)
    contrast = valid_mean(((a @ moment) * a).sum(dim=1), valid)
    return invariance + rho * contrast, moment


class TiCoConfig(Config):
    """TiCo (Zhu et al. 2022, arXiv:2206.10698)."""

    beta: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old second moment that an update keeps (paper: 0.9)."""
    rho: float = Field(default=8.0, ge=0)
    """Weight of the contrast (paper: 8)."""
    hidden_dim: int = Field(default=4096, ge=1)
    """Width of the projector's hidden layer (paper: 4096)."""
    output_dim: int = Field(default=256, ge=1)
    """Width of the projection (paper: 256)."""


class TiCo(JointEmbeddingObjective):
    """Invariance to the momentum network's projection of the other view, one way, and an implicit queue in a matrix."""

    Config = TiCoConfig
    handles_absent = True
    target = "momentum"
    one_way = True
    covariance: Tensor
    config: TiCoConfig

    def __init__(self, config: TiCoConfig) -> None:
        super().__init__(config)
        self.register_buffer("covariance", torch.zeros(config.output_dim, config.output_dim))

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim])

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch, after which the second moment is kept."""
        (a,), (b,), valid = embeddings.online, embeddings.target, in_both_views(embeddings)
        loss, moment = tico(a, b, self.covariance, self.config.beta, self.config.rho, valid)
        if self.training:
            with torch.no_grad():
                self.covariance.copy_(moment)
        return LossOutput(loss, {}, counted(valid, loss))


RECIPE = ObjectiveRecipe(
    config=TiCoConfig,
    build=TiCo,
    optimization={"optimizer": "lars", "base_lr": 0.2, "weight_decay": 1.5e-6, "warmup_epochs": 10},
    momentum=(0.99, 1.0),
)
"""TiCo with the settings of its authors: 1000 epochs of ImageNet at a batch of 4096, 312,785 updates."""
