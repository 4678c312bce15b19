"""word2vec: predict neighbouring tokens from a token's vector (skip-gram with negative sampling)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.runtime import from_first_rank, full, sum_over_ranks
from selfsup.tasks import PretextTask, StepOutput, TaskRecipe
from selfsup.types import Batch, Info
from selfsup_text.backbones.word_vectors import WordVectors
from selfsup_text.tasks.parts.special_tokens import SpecialTokens


class Word2VecConfig(Config):
    """Options of word2vec."""

    window: int = Field(default=5, ge=1)
    """Largest distance of neighbours; each token draws its own from 1 to this. The paper's code has 5, and 10 for skip-gram."""
    negatives: int = Field(default=5, ge=1)
    """Weight of negatives: their number per neighbour; 5 to 20 in the paper, 2 to 5 on much data."""
    shared_negatives: int = Field(default=64, ge=1)
    """Negatives drawn for the whole batch; in the paper each neighbour has its own."""
    smoothing: float = Field(default=0.75, ge=0, le=1)
    """Negatives are drawn with probability proportional to frequency to this power; 0.75 in the paper."""
    subsampling: float = Field(default=1e-3, gt=0)
    """Frequency above which tokens are randomly left out; 1e-5 in the paper, 1e-3 in its code, for words and much data."""


class Word2Vec(PretextTask):
    """Skip-gram with negative sampling (Mikolov et al. 2013, arXiv 1310.4546, section 2.2).

    Frequencies are counted during training, over all devices; a step uses the counts of earlier steps, and the first step
    assumes equal frequencies. A frequent token that is left out (section 2.3: kept with probability sqrt(subsampling /
    frequency)) still takes up a position in the window. Special tokens are neither centre nor neighbour. All vectors are
    initialised from a normal distribution; in the paper's code those of neighbours start at zero.
    """

    backbone: WordVectors
    counts: Tensor
    counted: Tensor

    def __init__(self, config: Word2VecConfig, backbone: Backbone, info: Info) -> None:
        if not isinstance(backbone, WordVectors):
            raise ConfigError(
                f"word2vec trains only a table of vectors, and {type(backbone).__name__} is a network. Use the backbone "
                "word-vectors."
            )
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.vocabulary = SpecialTokens(info)
        self.neighbours = nn.Embedding(self.vocabulary.size, backbone.embed_dim)
        nn.init.normal_(self.neighbours.weight, std=1 / math.sqrt(backbone.embed_dim))
        self.register_buffer("counts", torch.zeros(self.vocabulary.size, dtype=torch.float64))
        # Counts of the current step, which are empty between steps.
        self.register_buffer("counted", torch.zeros(self.vocabulary.size, dtype=torch.float64), persistent=False)
        self._negatives: Tensor | None = None

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Distinguish the neighbours of every token from tokens drawn by frequency."""
        ids = batch["ids"]
        usable = self.vocabulary.maskable(batch)
        self._count(ids, usable)
        frequency = self.counts / self.counts.sum().clamp(min=1)
        kept = self._subsample(ids, usable, frequency, generator)
        reach = torch.randint(1, self.config.window + 1, ids.shape, generator=generator, device=ids.device)
        centre = full(self.backbone.word_embeddings(ids))
        near, pairs = neighbour_loss(centre, full(self.neighbours(ids)), kept, reach, self.config.window)
        scores = centre @ full(self.neighbours(self._draw(frequency, generator))).T
        far = (F.softplus(scores).mean(dim=-1) * pairs).sum()
        total = pairs.detach().sum()
        return StepOutput(
            (near + self.config.negatives * far) / total.clamp(min=1), {"pairs": total / kept.sum().clamp(min=1)}, weight=total
        )

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Add the token counts of the step, over all devices."""
        self.counts.add_(sum_over_ranks(self.counted))
        self.counted.zero_()
        self._negatives = None

    @torch.no_grad()
    def _count(self, ids: Tensor, usable: Tensor) -> None:
        if self.training:
            self.counted.scatter_add_(0, ids.flatten(), usable.flatten().to(self.counted.dtype))

    def _draw(self, frequency: Tensor, generator: torch.Generator | None) -> Tensor:
        """[n] long, the negatives of the step, equal for all of its chunks and devices."""
        if self._negatives is not None and self.training:
            return self._negatives
        # Unseen and special tokens are never negatives, even with smoothing 0 (0 ** 0 is 1).
        weight = (frequency**self.config.smoothing).masked_fill(frequency == 0, 0)
        ordinary = (~self.vocabulary.is_special).to(weight.dtype)
        weight = torch.where(weight.sum() > 0, weight, ordinary)
        self._negatives = from_first_rank(draw_by(weight, self.config.shared_negatives, generator))
        return self._negatives

    def _subsample(self, ids: Tensor, usable: Tensor, frequency: Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, N] bool, the tokens that stay."""
        chance = torch.rand(ids.shape, generator=generator, device=ids.device)
        keep = (self.config.subsampling / frequency.clamp(min=1e-12)).sqrt()
        return usable & (chance < keep[ids])


def neighbour_loss(centre: Tensor, other: Tensor, kept: Tensor, reach: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The loss summed over all pairs of neighbours, and the number of neighbours of each token.

    Args:
        centre: [B, N, D], vectors of the tokens.
        other: [B, N, D], their vectors as neighbours.
        kept: [B, N] bool, the tokens to use.
        reach: [B, N] long, the window of each token.
        window: the largest window.

    Returns:
        loss: scalar, the sum of -log sigmoid(centre . neighbour).
        pairs: [B, N] float, the neighbours of each token.
    """
    N = centre.shape[1]
    pairs = torch.zeros_like(centre[..., 0])
    loss = (centre * 0).sum()
    for distance in range(1, min(window, N - 1) + 1):
        both = kept[:, distance:] & kept[:, :-distance]
        forward = (both & (reach[:, :-distance] >= distance)).to(centre.dtype)
        backward = (both & (reach[:, distance:] >= distance)).to(centre.dtype)
        ahead = F.softplus(-(centre[:, :-distance] * other[:, distance:]).sum(dim=-1)) * forward
        behind = F.softplus(-(centre[:, distance:] * other[:, :-distance]).sum(dim=-1)) * backward
        loss = loss + ahead.sum() + behind.sum()
        pairs = pairs + F.pad(forward, (0, distance)) + F.pad(backward, (distance, 0))
    return loss, pairs


def draw_by(weight: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """[n] long, indices drawn with replacement in proportion to ``weight`` ([V])."""
    cumulated = weight.cumsum(dim=0)
    chance = torch.rand(n, generator=generator, device=weight.device, dtype=torch.float64) * cumulated[-1]
    return torch.searchsorted(cumulated.to(torch.float64), chance, right=True).clamp(max=len(weight) - 1)


RECIPE = TaskRecipe(
    config=Word2VecConfig,
    build=Word2Vec,
    optimization={"optimizer": "adam", "lr": 2e-2, "weight_decay": 0.0, "warmup_fraction": 0.0},
)
"""Adam instead of plain SGD (0.025, decaying to zero) as in the paper's code."""
