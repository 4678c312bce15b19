"""SimSiam's loss: predict the projection of another view, through which no gradient flows."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import counted, in_both_views, only_valid, valid_mean


def negative_cosine(prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Negative cosine similarity (Chen & He 2020, arXiv:2011.10566, equation 1).

    Args:
        prediction: [B, P], with gradient.
        target: [B, P]; no gradient flows into it (equation 3).
        valid: [B] bool, the samples that count; None: all.

    Returns:
        Scalar, the mean over the batch, in -1..1.
    """
    cosines = F.cosine_similarity(only_valid(prediction, valid), only_valid(target.detach(), valid), dim=1)
    return -valid_mean(cosines, valid)


class SimSiamConfig(Config):
    """SimSiam (Chen & He 2020, arXiv:2011.10566)."""

    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layers (paper: 2048)."""
    output_dim: int = Field(default=2048, ge=1)
    """Width of the projection (paper: 2048)."""
    bottleneck_dim: int = Field(default=512, ge=1)
    """Width of the predictor's hidden layer (paper: a quarter of the output, 512)."""


class SimSiam(JointEmbeddingObjective):
    """The mean negative cosine of both ways (equation 4).

    The predictor's learning rate follows the schedule of all others; the paper's code keeps it constant.
    """

    Config = SimSiamConfig
    handles_absent = True
    couples_samples = False
    target = "stop-gradient"
    config: SimSiamConfig

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Three layers, the last batch norm without learned scale."""
        hidden = self.config.hidden_dim
        return mlp([embed_dim, hidden, hidden, self.config.output_dim], last_norm="plain")

    def build_predictor(self) -> nn.Module:
        """A bottleneck."""
        return mlp([self.config.output_dim, self.config.bottleneck_dim, self.config.output_dim])

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        (a, b), (target_a, target_b) = embeddings.online, embeddings.target
        valid = in_both_views(embeddings)
        loss = (negative_cosine(a, target_b, valid) + negative_cosine(b, target_a, valid)) / 2
        return LossOutput(loss, {}, counted(valid, loss))


RECIPE = ObjectiveRecipe(
    config=SimSiamConfig,
    build=SimSiam,
    optimization={"optimizer": "sgd", "base_lr": 0.05, "weight_decay": 1e-4, "warmup_epochs": 0},
)
