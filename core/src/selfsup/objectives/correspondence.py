"""Correspondence: a small head says whether two views are of the same sample."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config, idle
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.valid_rows import in_both_views, only_valid, own_columns, valid_mean
from selfsup.runtime.distributed import from_first_rank, gather


def mismatched(valid: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """For each sample another one of the global batch, the same number of places on among those that count.

    How far is drawn anew each time, 1 to N - 1 places, so that every pair of different samples is as likely.

    Args:
        valid: [B] bool, the samples of this device that count.
        generator: source of the draw; all processes take the first one's. None: torch's global one.

    Returns:
        [B] long, its place in the global batch; [B] bool, whether there is one: both samples count, and are not the same.
    """
    everywhere = gather(valid.to(torch.uint8)).bool()
    n = everywhere.sum()
    u = from_first_rank(torch.rand((), generator=generator, device=valid.device))
    # A product may round up to n - 1.
    shift = 1 + torch.minimum((u * (n - 1)).long(), (n - 2).clamp_min(0))
    own = own_columns(len(valid), valid.device)
    place = (everywhere.long().cumsum(dim=0) - 1)[own]
    order = torch.argsort((~everywhere).to(torch.uint8), stable=True)
    other = order[(place + shift) % n.clamp_min(1)]
    return other, valid & (other != own)


class ConcatHead(nn.Module):
    """Two embeddings side by side through two layers, to one number: [B, P] twice to [B]."""

    def __init__(self, width: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = mlp([2 * width, hidden_dim, 1], norm=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score pairs."""
        scores: Tensor = self.layers(torch.cat([a, b], dim=1))
        return scores.squeeze(1)


class DistanceHead(nn.Module):
    """The distance of two embeddings of unit length, times a learned weight and with a learned bias: [B, P] twice to [B].

    So the embeddings of both views come to lie in one space (Arandjelovic & Zisserman 2018, arXiv:1712.06651, section 3.1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), -1.0))
        self.bias = nn.Parameter(torch.full((1,), 1.0))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score pairs."""
        # By the cosine, for a distance of 0 has no gradient of its root; the smallest is 1e-4.
        squared = 2 - 2 * F.cosine_similarity(a, b, dim=1)
        return self.weight * squared.clamp_min(1e-8).sqrt() + self.bias


class CorrespondenceConfig(Config):
    """Audio-visual correspondence (Arandjelovic & Zisserman 2017, arXiv:1705.08168), for any two views or parts."""

    head: Literal["concat", "distance"] = "concat"
    """What judges a pair: two layers on both embeddings (``concat``; paper), or their distance, so that one finds the other."""
    hidden_dim: int = Field(default=128, ge=1)
    """Width of the hidden layer of the ``concat`` head (paper: 128)."""
    output_dim: int = Field(default=512, ge=1)
    """Width of the projection where views do not share a space of the backbone (paper: 512)."""
    ignore_duplicates: bool = True
    """Whether two samples that show the same in a view (a caption twice) are no mismatched pair (paper: they are)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("head is distance", self.head == "distance", "hidden_dim")


class Correspondence(JointEmbeddingObjective):
    """Binary cross-entropy of a head on pairs: each sample's own two views, and its first with another sample's second.

    Across the parts of a row the head judges the embeddings in their joint space as they are, which the backbone keeps.
    Elsewhere a linear projection stands before it.
    """

    Config = CorrespondenceConfig
    handles_absent = True
    config: CorrespondenceConfig

    def __init__(self, config: CorrespondenceConfig) -> None:
        super().__init__(config)
        self.head = self._build_head(config.output_dim)

    def _build_head(self, width: int) -> nn.Module:
        return ConcatHead(width, self.config.hidden_dim) if self.config.head == "concat" else DistanceHead()

    def build_projector(self, embed_dim: int) -> nn.Module:
        """One layer."""
        return nn.Linear(embed_dim, self.config.output_dim)

    def build_joint_projector(self, joint_dim: int) -> nn.Module:
        """None: the head judges the joint space, and is made as wide."""
        self.head = self._build_head(joint_dim)
        return nn.Identity()

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        a, b = embeddings.online
        valid = in_both_views(embeddings)
        a, b = only_valid(a, valid), only_valid(b, valid)
        there = torch.ones(len(a), dtype=torch.bool, device=a.device) if valid is None else valid
        other, wrong = mismatched(there, embeddings.generator)
        if embeddings.groups is not None and self.config.ignore_duplicates:
            own, others = embeddings.groups, gather(embeddings.groups)[other]
            wrong = wrong & ~((own == others) & (own != -1)).any(dim=1)
        scores: Tensor = self.head(torch.cat([a, a]), torch.cat([b, gather(b)[other]]))
        counts = torch.cat([there, wrong])
        matched = torch.arange(len(counts), device=a.device) < len(a)
        losses = F.binary_cross_entropy_with_logits(scores, matched.to(scores.dtype), reduction="none")
        loss = valid_mean(losses, counts)
        metrics = {
            "accuracy": valid_mean(((scores.detach() > 0) == matched).float(), counts),
            "chance_loss": _chance(there.sum(), counts.sum(), loss),
        }
        return LossOutput(loss, metrics, counts.sum().to(loss.dtype))


def _chance(matched: Tensor, pairs: Tensor, like: Tensor) -> Tensor:
    """The least loss where all pairs look alike: the entropy of how many are matched, ln 2 where half are."""
    share = matched.to(like.dtype) / pairs.clamp_min(1)
    both = torch.stack([share, 1 - share])
    products: Tensor = torch.special.xlogy(both, both)
    return -products.sum()


RECIPE = ObjectiveRecipe(
    config=CorrespondenceConfig,
    build=Correspondence,
    optimization={"optimizer": "adam", "lr": 1e-4, "weight_decay": 1e-5, "warmup_fraction": 0.0, "schedule": "constant"},
)
"""The paper's optimizer and weight decay; it chose the rate by a search."""
