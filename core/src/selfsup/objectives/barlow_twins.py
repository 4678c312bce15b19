"""Barlow Twins' loss: make the cross-correlation of two views the identity."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import counted_everywhere, global_mean, in_both_views, only_valid, zero_if_none
from selfsup.objectives.vicreg import squared_covariances

EPS = 1e-5
"""Added to the variances, as in batch norm."""


def barlow_twins_terms(a: Tensor, b: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The two sums of Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, equation 1).

    Args:
        a: [B, P], embeddings of one view of each sample; standardised over the global batch here.
        b: [B, P], of another view.
        valid: [B] bool, the samples that count; None: all. Where none does, both sums are 0.

    Returns:
        Two scalars: the squared distance of the cross-correlation's diagonal from 1, and the squares off the diagonal, summed.
    """
    a, b = _standardize(a, valid), _standardize(b, valid)
    diagonal = global_mean(a * b, valid)
    distance = (diagonal - 1).square().sum()
    if valid is None:
        return distance, squared_covariances(a, b) - diagonal.square().sum()
    count = counted_everywhere(valid, a)
    return zero_if_none(distance, count), squared_covariances(a, b, count) - diagonal.square().sum()


def barlow_twins(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Barlow Twins' loss: the diagonal term plus ``weight`` (lambda) times the other; arguments as :func:`barlow_twins_terms`.

    This is the scale of the paper's equation 1, and lightly's. solo-learn multiplies it all by 0.025, for which its learning
    rates are made; with LARS or Adam, whose steps do not grow with the gradient, that makes little difference.
    """
    diagonal, rest = barlow_twins_terms(a, b)
    return diagonal + weight * rest


def _standardize(x: Tensor, valid: Tensor | None) -> Tensor:
    x = only_valid(x, valid)
    centred = only_valid(x - global_mean(x, valid), valid)
    variance = global_mean(centred.square(), valid)
    return centred * (variance + EPS).rsqrt()


class BarlowTwinsConfig(Config):
    """Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230)."""

    redundancy_weight: float = Field(default=5e-3, ge=0)
    """Lambda, the weight of the terms off the diagonal (paper: 0.005; its code: 0.0051)."""
    hidden_dim: int = Field(default=8192, ge=1)
    """Width of the projector's hidden layers (paper: 8192)."""
    output_dim: int = Field(default=8192, ge=1)
    """Width of the projection (paper: 8192)."""


class BarlowTwins(JointEmbeddingObjective):
    """Redundancy reduction behind a projector of three layers."""

    Config = BarlowTwinsConfig
    handles_absent = True
    config: BarlowTwinsConfig

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Three layers."""
        hidden = self.config.hidden_dim
        return mlp([embed_dim, hidden, hidden, self.config.output_dim])

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        diagonal, rest = barlow_twins_terms(a, b, in_both_views(embeddings))
        metrics = {"invariance": diagonal.detach(), "redundancy": rest.detach()}
        return LossOutput(diagonal + self.config.redundancy_weight * rest, metrics)


RECIPE = ObjectiveRecipe(
    config=BarlowTwinsConfig,
    build=BarlowTwins,
    optimization={
        "optimizer": "lars",
        "base_lr": 0.2,
        "bias_lr_scale": 0.0048 / 0.2,
        "weight_decay": 1.5e-6,
        "warmup_epochs": 10,
        "final_lr_fraction": 0.001,
    },
)
"""Barlow Twins with the paper's settings (section 2.3): rates of 0.2 for weights, 0.0048 for biases and norms."""
