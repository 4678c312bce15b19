"""CLIP's loss: find each sample's other view in the batch, in both directions, with a learned temperature."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import (
    contrast,
    contrast_accuracy,
    contrast_chance,
    counted,
    in_both_views,
    mean_cosine,
    not_compared,
    only_valid,
    own_columns,
)
from selfsup.runtime.distributed import gather, world_size


def symmetric_contrast(
    a: Tensor, b: Tensor, scale: Tensor | float, valid: Tensor | None = None, left_out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """InfoNCE in both directions over the global batch (Radford et al. 2021, arXiv:2103.00020, figure 3).

    Args:
        a: [B, P], one view of each sample (its picture); scaled to unit length here, as ``b`` is.
        b: [B, P], another view (its caption).
        scale: multiplies the cosines.
        valid: [B] bool, the samples that count; None: all.
        left_out: [B, N] bool, samples of the global batch that are no negatives, from
            :func:`~selfsup.objectives.parts.valid_rows.not_compared`; None: all others are.

    Returns:
        The loss, the mean of both directions, and the share of ``a`` that find their ``b`` (without gradient); scalars.
    """
    a, b = F.normalize(only_valid(a, valid), dim=1), F.normalize(only_valid(b, valid), dim=1)
    own = own_columns(len(a), a.device)
    to_b = scale * (a @ gather(b).T)
    to_a = to_b.T if world_size() == 1 else scale * (b @ gather(a).T)
    loss = (contrast(to_b, own, left_out, valid) + contrast(to_a, own, left_out, valid)) / 2
    return loss, contrast_accuracy(to_b, own, left_out, valid)


class CLIPConfig(Config):
    """CLIP (Radford et al. 2021, arXiv:2103.00020)."""

    temperature: float = Field(default=0.07, gt=0)
    """What divides the cosines at first; it is learned from there (paper: 0.07)."""
    max_scale: float = Field(default=100.0, gt=0)
    """Most that the cosines may be multiplied by; the learned scale is cut to it after each step (paper: 100)."""
    ignore_duplicates: bool = True
    """Whether samples that show the same in a view (a caption twice) are no negatives of each other (paper: they are)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layer where views do not share a space of the backbone (SimCLR: 2048)."""
    output_dim: int = Field(default=512, ge=1)
    """Width of the projection where views do not share a space of the backbone (paper: 512 for ViT-B/32)."""


class CLIP(JointEmbeddingObjective):
    """Symmetric InfoNCE with a learned scale.

    Across the parts of a row it compares the embeddings in their joint space as they are, which the backbone keeps. Elsewhere
    (two views of one kind of data, parts without a joint space) it does so behind SimCLR's projector. The logarithm of the
    scale is what is learned, without weight decay; as in the authors' code it is cut after each step.
    """

    Config = CLIPConfig
    handles_absent = True
    config: CLIPConfig

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        # One number in one dimension: weights that are spread over devices cannot have none.
        self.log_scale = nn.Parameter(torch.full((1,), math.log(min(1 / config.temperature, config.max_scale))))

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim], last_norm="affine")

    def build_joint_projector(self, joint_dim: int) -> nn.Module:
        """None: the joint space is what is compared."""
        return nn.Identity()

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        valid = in_both_views(embeddings)
        left_out = not_compared(valid, embeddings.groups if self.config.ignore_duplicates else None)
        scale = self.log_scale.to(a.dtype).exp()
        loss, accuracy = symmetric_contrast(a, b, scale, valid, left_out)
        metrics = {
            "accuracy": accuracy,
            "scale": scale.detach().squeeze(),
            "positive_similarity": mean_cosine(a, b, valid),
            "chance_loss": contrast_chance(len(a) * world_size(), left_out, valid, loss),
        }
        return LossOutput(loss, metrics, counted(valid, loss))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Cut the scale to its maximum."""
        self.log_scale.clamp_(max=math.log(self.config.max_scale))


RECIPE = ObjectiveRecipe(
    config=CLIPConfig,
    build=CLIP,
    optimization={"optimizer": "adamw", "lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.2},
)
"""CLIP with the paper's settings for ViT-B/32 (its appendix F), whose batch is 32,768. The warm-up is the usual 5 % of the run;
the paper's 2,000 steps are 0.5 % of its own."""
