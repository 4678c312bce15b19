"""Contrastive predictive coding: pick the future tokens among other tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone, TokenBackbone
from selfsup.config import Config
from selfsup.objectives.parts.chance import chance_loss
from selfsup.objectives.parts.embeddings import Embeddings
from selfsup.runtime.distributed import from_first_rank, gather, mean_over_ranks, rank, world_size
from selfsup.runtime.precision import full, no_autocast
from selfsup.tasks.autoregressive.next_token import causal_backbone
from selfsup.tasks.base import StepOutput, TaskFamilyRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.joint_embedding.comparison import ComparesEmbeddings
from selfsup.tasks.masked.masked_modeling import token_backbone
from selfsup.tasks.parts.random_masking import mean_term, weighted_mean
from selfsup.types import Batch, Info


class CPCConfig(Config):
    """Options of contrastive predictive coding."""

    steps: int = Field(default=12, ge=1)
    """How many tokens on, from 1 to this, is predicted, each with a map of its own; 12 in the paper (10 ms each)."""
    negatives: int = Field(default=128, ge=1)
    """Tokens that the right one is told from, the same ones for all predictions of a sample; 128 in Riviere et al. 2020."""
    negatives_from: Literal["batch", "sample"] = "batch"
    """Draw them from the whole batch or from the sample itself; the paper's table 2 compares both (64.6 and 65.5 %)."""


@dataclass(frozen=True)
class TokenEmbeddings(Embeddings):
    """What CPC compares."""

    trained: ClassVar[tuple[str, ...]] = ("content", "encoded")
    content: Tensor
    """[B, N, D], what each token is, in full precision."""
    encoded: Tensor
    """[B, N, D], the network's output at each, in full precision."""
    real: Tensor
    """[B, N] bool, False for padding."""
    generator: torch.Generator | None
    """What negatives are drawn with."""


class CPC(ComparesEmbeddings[TokenEmbeddings]):
    """Contrastive predictive coding (van den Oord et al. 2018, arXiv 1807.03748, equations 3 and 4), for a causal backbone.

    The network's output at token t, through a linear map for each k, is to score the content of token t + k above that of
    random tokens (InfoNCE; the mean over k). The content is what the backbone's ``tokenize`` gives, and learns, too. Scores
    are divided by the square root of the width, which the maps could as well. Negatives are drawn from all real tokens (of all
    devices), with replacement; where one is the very token that is to be found, it is left out. A batch in chunks
    (``optimization.accumulate``) draws from all of them, so that its B * N * K * (1 + negatives) scores lie in memory at once.

    Raises:
        ConfigError: the backbone sees later tokens, from which it could copy the answer.
    """

    backbone: TokenBackbone

    def __init__(self, config: CPCConfig, backbone: TokenBackbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = causal_backbone(backbone)
        self.couples_samples = config.negatives_from == "batch"
        self.predict = nn.Linear(backbone.embed_dim, config.steps * backbone.embed_dim, bias=False)

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> TokenEmbeddings:
        """Tokenize and encode."""
        tokens = self.backbone.tokenize(batch)
        content, padding = tokens.embeddings, tokens.padding
        encoded = self.backbone.encode(tokens)
        real = torch.ones(content.shape[:2], dtype=torch.bool, device=content.device) if padding is None else ~padding
        return TokenEmbeddings(full(content), full(encoded), real, generator)

    def compare(self, embeddings: TokenEmbeddings) -> StepOutput:
        """Predict, draw negatives, contrast."""
        K = self.config.steps
        z, real = embeddings.content, embeddings.real
        B, N, D = z.shape
        future = torch.arange(N, device=z.device).unsqueeze(1) + torch.arange(1, K + 1, device=z.device)
        target = future.clamp(max=N - 1)
        weight = (future < N) & real.unsqueeze(2) & real[:, target]
        with no_autocast(z):
            prediction = self.predict(embeddings.encoded).view(B, N * K, D) / math.sqrt(D)
            positive = (prediction * z[:, target.flatten()]).sum(dim=-1)
            drawn, vectors = self._draw(z, real, embeddings.generator)
            own = torch.arange(B, device=z.device).unsqueeze(1) * N + target.flatten()
            negative = prediction @ vectors.mT
            negative = negative.masked_fill(own.unsqueeze(2) == drawn.unsqueeze(-2), -math.inf)
            loss = torch.cat([positive.unsqueeze(2), negative], dim=2).logsumexp(dim=2) - positive
        weights = weight.view(B, N * K).to(loss.dtype)
        hit = (positive.detach().unsqueeze(2) > negative.detach()).all(dim=2)
        metrics = {
            "accuracy": weighted_mean(hit.to(loss.dtype), weights),
            "chance_loss": chance_loss(1 + self.config.negatives, loss),
        }
        return StepOutput.of(mean_term(loss, weights), metrics=metrics)

    def _draw(self, z: Tensor, real: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Random real tokens of the batch of all devices, or of each sample.

        Args:
            z: [B, N, D], the content.
            real: [B, N] bool.
            generator: source of the draws.

        Returns:
            place: [n] or [B, n] long, where they lie in this device's B * N tokens; -1 for those of other devices.
            vectors: [n, D] or [B, n, D], their content.
        """
        B, N = real.shape
        if self.config.negatives_from == "sample":
            below = real.cumsum(dim=1)
            u = torch.rand(B, self.config.negatives, generator=generator, device=real.device)
            number = torch.minimum((u * below[:, -1:]).long(), below[:, -1:] - 1)
            place = torch.searchsorted(below, number, right=True).clamp(max=N - 1)
            place = place + torch.arange(B, device=real.device).unsqueeze(1) * N
            return place, z.flatten(0, 1)[place]
        below = real.flatten().cumsum(dim=0)
        u = from_first_rank(torch.rand(self.config.negatives, generator=generator, device=real.device))
        counts = gather(below[-1:])
        total = counts.sum()
        number = torch.minimum((u * total).long(), total - 1) - counts[: rank()].sum()
        here = (number >= 0) & (number < below[-1])
        place = torch.searchsorted(below, number.clamp(min=0), right=True).clamp(max=B * N - 1)
        own = torch.where(here.unsqueeze(1), z.flatten(0, 1)[place], 0.0)
        # A token lies on one device: summed up, its content is on all of them.
        return torch.where(here, place, -1), mean_over_ranks(own) * world_size()


def build_cpc(config: CPCConfig, backbone: Backbone, info: Info) -> CPC:
    """Build contrastive predictive coding around a causal token backbone."""
    return CPC(config, token_backbone(backbone, "Contrastive predictive coding"))


CPC_FAMILY = TaskFamilyRecipe(
    config=CPCConfig,
    build=build_cpc,
    optimization={"optimizer": "adam", "lr": 2e-4, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant"},
)
"""CPC with the paper's settings for speech (Adam at 2e-4, batches of 8 x 8 windows of 1.28 s)."""

cpc_recipe = partial(recipe_from_family, CPC_FAMILY)
"""A CPC task for any causal token backbone: see :func:`~selfsup.tasks.family.recipe_from_family`."""
