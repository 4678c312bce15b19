"""SimCSE: contrast two dropout views of a sentence with the other sentences of the batch."""

from __future__ import annotations

from pydantic import Field
from torch import nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings, chance_loss, nt_xent
from selfsup.runtime import world_size


class SimCSEConfig(Config):
    """Options of SimCSE's loss and head."""

    temperature: float = Field(default=0.05, gt=0)
    """Divides the cosines (paper: 0.05)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the head, which is not kept (paper: that of the encoder)."""


class SimCSE(JointEmbeddingObjective):
    """NT-Xent after SimCSE's head (Gao et al. 2021, arXiv 2104.08821).

    In the paper only the second views of other sentences are negatives; here their first views are, too.
    """

    Config = SimCSEConfig

    def __init__(self, config: SimCSEConfig) -> None:
        super().__init__()
        self.config = config

    def build_projector(self, embed_dim: int) -> nn.Module:
        """One layer with tanh, used only in training."""
        return nn.Sequential(nn.Linear(embed_dim, self.config.output_dim), nn.Tanh())

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        similarity = F.cosine_similarity(a.detach(), b.detach()).mean()
        loss = nt_xent(a, b, self.config.temperature)
        return LossOutput(
            loss, {"positive_similarity": similarity, "chance_loss": chance_loss(2 * len(a) * world_size() - 1, loss)}
        )


SIMCSE_OBJECTIVE = ObjectiveRecipe(config=SimCSEConfig, build=SimCSE)
"""SimCSE's loss and head; the optimizer and the views are those of ``text/simcse``."""
