"""Decoupled contrastive learning: NT-Xent without the positive in the denominator."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.distributed import gather, rank
from selfsup.objectives.heads import mlp


def dcl(a: Tensor, b: Tensor, temperature: float, sigma: float | None = None) -> Tensor:
    """DCL (Yeh et al. 2021, arXiv:2110.06848, equation 6), averaged over both views where the paper adds them.

    Args:
        a: [B, P], embeddings of one view of each sample; scaled to unit length here.
        b: [B, P], of another view.
        temperature: divides the cosines.
        sigma: concentration of the von Mises-Fisher weights of the positives (DCLW, equation 7); None weighs all alike.

    Returns:
        Scalar. It can be negative.
    """
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    everything = torch.cat([gather(a), gather(b)])
    n = len(everything) // 2
    mine = torch.arange(len(a), device=a.device) + rank() * len(a)
    same_sample = mine.repeat(2)[:, None] == torch.arange(n, device=a.device).repeat(2)
    logits = torch.cat([a, b]) @ everything.T / temperature
    negatives = logits.masked_fill(same_sample, float("-inf")).logsumexp(dim=1).mean()
    cosines = (a * b).sum(dim=1)
    if sigma is not None:
        # The weights are a softmax over the global batch.
        share = gather(cosines.detach() / sigma).softmax(dim=0)[mine]
        cosines = cosines * (2 - n * share)
    return negatives - cosines.mean() / temperature


class DCLConfig(Config):
    """DCL (Yeh et al. 2021, arXiv:2110.06848)."""

    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines (paper: 0.1)."""
    sigma: float | None = Field(default=None, gt=0)
    """Weighs the positives as DCLW does, with this concentration (paper: 0.5); None: plain DCL."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layer (paper: as SimCLR, 2048)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projection (paper: as SimCLR, 128)."""


class DCL(JointEmbeddingObjective):
    """The decoupled loss behind SimCLR's projector."""

    Config = DCLConfig

    def __init__(self, config: DCLConfig) -> None:
        super().__init__()
        self.config = config

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim], last_norm="affine")

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        similarity = F.cosine_similarity(a.detach(), b.detach()).mean()
        return LossOutput(dcl(a, b, self.config.temperature, self.config.sigma), {"positive_similarity": similarity})


RECIPE = ObjectiveRecipe(
    config=DCLConfig,
    build=DCL,
    optimization={"optimizer": "lars", "base_lr": 0.3, "weight_decay": 1e-6, "warmup_epochs": 10},
)
