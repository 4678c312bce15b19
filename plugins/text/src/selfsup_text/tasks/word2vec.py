"""word2vec: a token's vector tells which tokens stand near it (skip-gram with negative sampling)."""

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
    """Furthest neighbour told; each token draws its own from 1 to this. The paper's code has 5, and 10 for skip-gram."""
    negatives: int = Field(default=5, ge=1)
    """Weight of negatives against neighbours: how many there are of each; 5 to 20 in the paper, 2 to 5 on much data."""
    shared_negatives: int = Field(default=64, ge=1)
    """Tokens that are drawn as negatives of the whole batch; in the paper each neighbour has its own."""
    smoothing: float = Field(default=0.75, ge=0, le=1)
    """Power of a token's frequency that negatives are drawn by; 0.75 in the paper."""
    subsampling: float = Field(default=1e-3, gt=0)
    """Frequency above which tokens are left out at random; 1e-5 in the paper, 1e-3 in its code, for words and much data."""


class Word2Vec(PretextTask):
    """Skip-gram with negative sampling (Mikolov et al. 2013, arXiv 1310.4546, section 2.2).

    Frequencies are counted on the way, over all devices, since a batch says nothing of the corpus; a step goes by those of the
    steps before, and the first one takes all tokens as equally frequent. A frequent token that is left out (section 2.3: kept
    with probability sqrt(subsampling / frequency)) still takes its place in the window. Special tokens are neither centre nor
    neighbour. Vectors start normal; in the paper's code those of neighbours start at zero.
    """

    backbone: WordVectors
    counts: Tensor
    counted: Tensor

    def __init__(self, config: Word2VecConfig, backbone: WordVectors, info: Info) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.vocabulary = SpecialTokens(info)
        self.neighbours = nn.Embedding(self.vocabulary.size, backbone.embed_dim)
        nn.init.normal_(self.neighbours.weight, std=1 / math.sqrt(backbone.embed_dim))
        self.register_buffer("counts", torch.zeros(self.vocabulary.size, dtype=torch.float64))
        # Of the step that is being taken; between steps there is nothing to keep.
        self.register_buffer("counted", torch.zeros(self.vocabulary.size, dtype=torch.float64), persistent=False)
        self._negatives: Tensor | None = None

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Tell the neighbours of every token apart from tokens drawn by frequency."""
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
        """Learn how frequent the tokens are that all devices saw in the step."""
        self.counts.add_(sum_over_ranks(self.counted))
        self.counted.zero_()
        self._negatives = None

    @torch.no_grad()
    def _count(self, ids: Tensor, usable: Tensor) -> None:
        if self.training:
            self.counted.scatter_add_(0, ids.flatten(), usable.flatten().to(self.counted.dtype))

    def _draw(self, frequency: Tensor, generator: torch.Generator | None) -> Tensor:
        """[n] long, the negatives of the step, the same ones for all of its parts and devices."""
        if self._negatives is not None and self.training:
            return self._negatives
        # Tokens that were never seen, special ones among them, are no negatives: 0 to the power of 0 would be 1.
        weight = (frequency**self.config.smoothing).masked_fill(frequency == 0, 0)
        ordinary = (~self.vocabulary.is_special).to(weight.dtype)
        weight = torch.where(weight.sum() > 0, weight, ordinary)
        self._negatives = from_first_rank(draw_by(weight, self.config.shared_negatives, generator))
        return self._negatives

    def _subsample(self, ids: Tensor, usable: Tensor, frequency: Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, N] bool, the tokens that are left in."""
        chance = torch.rand(ids.shape, generator=generator, device=ids.device)
        keep = (self.config.subsampling / frequency.clamp(min=1e-12)).sqrt()
        return usable & (chance < keep[ids])


def neighbour_loss(centre: Tensor, other: Tensor, kept: Tensor, reach: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The loss of a token's vector not telling its neighbours, summed over all pairs, and how many neighbours each token has.

    Args:
        centre: [B, N, D], vectors of the tokens.
        other: [B, N, D], their vectors as neighbours.
        kept: [B, N] bool, the tokens that take part.
        reach: [B, N] long, how far each token's window reaches.
        window: the furthest that any reaches.

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
        told = F.softplus(-(centre[:, :-distance] * other[:, distance:]).sum(dim=-1)) * forward
        told_back = F.softplus(-(centre[:, distance:] * other[:, :-distance]).sum(dim=-1)) * backward
        loss = loss + told.sum() + told_back.sum()
        pairs = pairs + F.pad(forward, (0, distance)) + F.pad(backward, (distance, 0))
    return loss, pairs


def draw_by(weight: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """[n] long, indices drawn with replacement in proportion to ``weight`` ([V])."""
    cumulated = weight.cumsum(dim=0)
    chance = torch.rand(n, generator=generator, device=weight.device, dtype=torch.float64) * cumulated[-1]
    return torch.searchsorted(cumulated.to(torch.float64), chance, right=True).clamp(max=len(weight) - 1)


def build_word2vec(config: Word2VecConfig, backbone: Backbone, info: Info) -> Word2Vec:
    """Build word2vec around word vectors.

    Raises:
        ConfigError: the backbone is another one, whose network this would not train.
    """
    if not isinstance(backbone, WordVectors):
        raise ConfigError(
            f"word2vec trains a table of vectors and nothing behind it, and {type(backbone).__name__} is a network. "
            "Take the backbone word-vectors."
        )
    return Word2Vec(config, backbone, info)


RECIPE = TaskRecipe(
    config=Word2VecConfig,
    build=build_word2vec,
    optimization={"optimizer": "adam", "lr": 2e-2, "weight_decay": 0.0, "warmup_fraction": 0.0},
)
"""Adam in the place of the paper's code's plain SGD (0.025, falling to zero)."""
