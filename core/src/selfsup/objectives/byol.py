"""BYOL's loss: predict the momentum network's projection of another view."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import counted, in_both_views, only_valid, valid_mean


def normalized_mse(prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Squared distance of the two scaled to unit length, 2 - 2 cos (Grill et al. 2020, arXiv:2006.07733, equation 2).

    Args:
        prediction: [B, P], with gradient.
        target: [B, P], without.
        valid: [B] bool, the samples that count; None: all.

    Returns:
        Scalar, the mean over the batch, in 0..4.
    """
    if valid is None:
        return 2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1).mean()
    cosines = F.cosine_similarity(only_valid(prediction, valid), only_valid(target.detach(), valid), dim=1)
    return valid_mean(2 - 2 * cosines, valid)


class BYOLConfig(Config):
    """BYOL (Grill et al. 2020, arXiv:2006.07733)."""

    hidden_dim: int = Field(default=4096, ge=1)
    """Width of the hidden layer of projector and predictor (paper: 4096)."""
    output_dim: int = Field(default=256, ge=1)
    """Width of the projection (paper: 256)."""


class BYOL(JointEmbeddingObjective):
    """The distance between each view's prediction and the other's target, both ways added (equation 2 and below).

    lightly and solo-learn take the mean of both ways and drop the constant, which changes the gradient by a factor only.
    """

    Config = BYOLConfig
    handles_absent = True
    couples_samples = False
    target = "momentum"
    config: BYOLConfig

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim])

    def build_predictor(self) -> nn.Module:
        """Two layers."""
        return mlp([self.config.output_dim, self.config.hidden_dim, self.config.output_dim])

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        (a, b), (target_a, target_b) = embeddings.online, embeddings.target
        valid = in_both_views(embeddings)
        loss = normalized_mse(a, target_b, valid) + normalized_mse(b, target_a, valid)
        return LossOutput(loss, {}, counted(valid, loss))


RECIPE = ObjectiveRecipe(
    config=BYOLConfig,
    build=BYOL,
    optimization={"optimizer": "lars", "base_lr": 0.2, "weight_decay": 1.5e-6, "warmup_epochs": 10},
    momentum=(0.996, 1.0),
)
"""BYOL with the paper's settings (section 3.2 and appendix): 1000 epochs of ImageNet at a batch of 4096, 312,785 updates."""
