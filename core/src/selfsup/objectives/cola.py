"""COLA's loss: contrast within the batch by a learned bilinear similarity."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.chance import chance_loss
from selfsup.objectives.distributed import gather, rank, world_size


def bilinear_contrast(a: Tensor, b: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
    """COLA's multi-class cross-entropy (Saeed et al. 2020, arXiv:2010.10915, equation 1): find each sample's other segment.

    Args:
        a: [B, P], anchors, one segment of each sample.
        b: [B, P], another segment of each; those of the global batch's other samples are the negatives.
        similarity: [P, P], the matrix between them.

    Returns:
        The loss and the share of anchors that find theirs, scalars.
    """
    logits = a @ similarity @ gather(b).T
    own = torch.arange(len(a), device=a.device) + rank() * len(a)
    return F.cross_entropy(logits, own), (logits.detach().argmax(dim=1) == own).float().mean()


class COLAConfig(Config):
    """COLA (Saeed et al. 2020, arXiv:2010.10915)."""

    output_dim: int = Field(default=512, ge=1)
    """Width of the projection (paper: 512)."""


class COLA(JointEmbeddingObjective):
    """Bilinear similarity behind a projector of one linear layer, layer norm and tanh, as in the authors' code.

    The first view is the anchor, the second the positive, one way as in the paper. The matrix starts Xavier-uniform.
    """

    Config = COLAConfig

    def __init__(self, config: COLAConfig) -> None:
        super().__init__()
        self.config = config
        self.similarity = nn.Parameter(nn.init.xavier_uniform_(torch.empty(config.output_dim, config.output_dim)))

    def build_projector(self, embed_dim: int) -> nn.Module:
        """One layer."""
        width = self.config.output_dim
        return nn.Sequential(nn.Linear(embed_dim, width), nn.LayerNorm(width), nn.Tanh())

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        loss, accuracy = bilinear_contrast(a, b, self.similarity)
        return LossOutput(loss, {"accuracy": accuracy, "chance_loss": chance_loss(len(b) * world_size(), loss)})


RECIPE = ObjectiveRecipe(
    config=COLAConfig,
    build=COLA,
    optimization={"optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant"},
)
"""The paper's settings (Adam at 1e-4, batches of 1024)."""
