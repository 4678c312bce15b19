"""SimCLR's loss: the normalised temperature-scaled cross-entropy (NT-Xent)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import (
    contrast,
    contrast_chance,
    counted,
    in_both_views,
    mean_cosine,
    not_compared,
    only_valid,
    own_columns,
)
from selfsup.runtime.distributed import gather, world_size


def nt_xent(a: Tensor, b: Tensor, temperature: float, valid: Tensor | None = None, left_out: Tensor | None = None) -> Tensor:
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709, equation 1), the mean over both views of all samples.

    Each embedding has its other view as positive, and the 2N - 2 embeddings of the global batch's other samples as negatives.

    Args:
        a: [B, P], embeddings of one view of each sample; scaled to unit length here.
        b: [B, P], of another view.
        temperature: divides the cosines.
        valid: [B] bool, the samples that count; None: all.
        left_out: [B, N] bool, samples of the global batch that are no negatives, from
            :func:`~selfsup.objectives.parts.valid_rows.not_compared`; None: all others are.

    Returns:
        Scalar.
    """
    a, b = F.normalize(only_valid(a, valid), dim=1), F.normalize(only_valid(b, valid), dim=1)
    everything = torch.cat([gather(a), gather(b)])
    n = len(everything) // 2
    mine = own_columns(len(a), a.device)
    itself, positive = torch.cat([mine, mine + n]), torch.cat([mine + n, mine])
    logits = torch.cat([a, b]) @ everything.T / temperature
    logits = logits.masked_fill(itself[:, None] == torch.arange(2 * n, device=a.device), float("-inf"))
    both = None if valid is None else valid.repeat(2)
    return contrast(logits, positive, None if left_out is None else left_out.repeat(2, 2), both)


class SimCLRConfig(Config):
    """SimCLR (Chen et al. 2020, arXiv:2002.05709)."""

    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines (paper: 0.1 on ImageNet, 0.5 on CIFAR-10)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layer (paper: that of ResNet-50's embedding, 2048)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projection (paper: 128)."""


class SimCLR(JointEmbeddingObjective):
    """NT-Xent behind a projector of two layers with batch norm, as in the authors' code."""

    Config = SimCLRConfig
    handles_absent = True
    config: SimCLRConfig

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim], last_norm="affine")

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        valid = in_both_views(embeddings)
        left_out = not_compared(valid, embeddings.groups)
        loss = nt_xent(a, b, self.config.temperature, valid, left_out)
        metrics = {
            "positive_similarity": mean_cosine(a, b, valid),
            "chance_loss": contrast_chance(
                2 * len(a) * world_size() - 1, None if left_out is None else left_out.repeat(1, 2), valid, loss
            ),
        }
        return LossOutput(loss, metrics, counted(valid, loss))


RECIPE = ObjectiveRecipe(
    config=SimCLRConfig,
    build=SimCLR,
    optimization={"optimizer": "lars", "base_lr": 0.3, "weight_decay": 1e-6, "warmup_epochs": 10},
)
