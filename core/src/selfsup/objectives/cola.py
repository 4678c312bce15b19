"""COLA's loss: contrast within the batch by a learned bilinear similarity."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.valid_rows import (
    contrast,
    contrast_accuracy,
    contrast_chance,
    counted,
    in_both_views,
    not_compared,
    only_valid,
    own_columns,
)
from selfsup.runtime.distributed import gather, world_size


def bilinear_contrast(
    a: Tensor, b: Tensor, similarity: Tensor, valid: Tensor | None = None, left_out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """COLA's multi-class cross-entropy (Saeed et al. 2020, arXiv:2010.10915, equation 1): find each sample's other segment.

    Args:
        a: [B, P], anchors, one segment of each sample.
        b: [B, P], another segment of each; those of the global batch's other samples are the negatives.
        similarity: [P, P], the matrix between them.
        valid: [B] bool, the samples that count; None: all.
        left_out: [B, N] bool, samples of the global batch that are no negatives, from
            :func:`~selfsup.objectives.parts.valid_rows.not_compared`; None: all others are.

    Returns:
        The loss and the share of anchors that find theirs, scalars.
    """
    logits = only_valid(a, valid) @ similarity @ gather(only_valid(b, valid)).T
    own = own_columns(len(a), a.device)
    return contrast(logits, own, left_out, valid), contrast_accuracy(logits, own, left_out, valid)


class COLAConfig(Config):
    """COLA (Saeed et al. 2020, arXiv:2010.10915)."""

    output_dim: int = Field(default=512, ge=1)
    """Width of the projection (paper: 512)."""


class COLA(JointEmbeddingObjective):
    """Bilinear similarity behind a projector of one linear layer, layer norm and tanh, as in the authors' code.

    The first view is the anchor, the second the positive, one way as in the paper. The matrix starts Xavier-uniform.
    """

    Config = COLAConfig
    handles_absent = True
    config: COLAConfig

    def __init__(self, config: COLAConfig) -> None:
        super().__init__(config)
        self.similarity = nn.Parameter(nn.init.xavier_uniform_(torch.empty(config.output_dim, config.output_dim)))

    def build_projector(self, embed_dim: int) -> nn.Module:
        """One layer."""
        width = self.config.output_dim
        return nn.Sequential(nn.Linear(embed_dim, width), nn.LayerNorm(width), nn.Tanh())

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        valid = in_both_views(embeddings)
        left_out = not_compared(valid, embeddings.groups)
        loss, accuracy = bilinear_contrast(a, b, self.similarity, valid, left_out)
        chance = contrast_chance(len(b) * world_size(), left_out, valid, loss)
        return LossOutput(loss, {"accuracy": accuracy, "chance_loss": chance}, counted(valid, loss))


RECIPE = ObjectiveRecipe(
    config=COLAConfig,
    build=COLA,
    optimization={"optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant"},
)
"""The paper's settings (Adam at 1e-4, batches of 1024)."""
