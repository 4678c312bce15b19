"""Corruption: noise on every token, to be taken away again."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, Encoded
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.objectives.base import Term
from selfsup.tasks.base import Corrupted, Corruption, CorruptionRecipe
from selfsup.tasks.parts.random_masking import mean_term
from selfsup.testing.toy.sequences.backbones import Standardize
from selfsup.testing.toy.sequences.noise import Noise
from selfsup.types import Batch, Info


class SequenceCorruptionConfig(Config):
    """Options of the corruption."""

    noise: float = Field(default=0.3, ge=0)
    """Share of the ids that is replaced, or deviation of the noise on frames in standard deviations."""


class TokenDecoder(nn.Module):
    """A linear layer on every token."""

    def __init__(self, embed_dim: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, outputs)

    def forward(self, encoded: Encoded) -> Tensor:
        """[B, N, outputs].

        Raises:
            ConfigError: the backbone gives no tokens.
        """
        if encoded.tokens is None:
            raise ConfigError("Noise is taken away token by token, and this backbone gives no tokens.")
        out: Tensor = self.linear(encoded.tokens)
        return out


class SequenceCorruption(Corruption):
    """Noise; the answer is the id, or the standardised frame, of every real token."""

    def __init__(self, config: SequenceCorruptionConfig, info: Info) -> None:
        super().__init__()
        self.noise = Noise(info, config.noise)
        self.outputs = info["vocabulary"] if info["kind"] == "ids" else info["channels"]
        self.standardize = None if info["kind"] == "ids" else Standardize(info)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """Corrupt all tokens."""
        clean, padding = batch["sequence"], batch.get("padding")
        target = clean if self.standardize is None else self.standardize(clean)
        weight = None if padding is None else (~padding).float()
        return Corrupted({**batch, "sequence": self.noise(clean, generator)}, target, weight)

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """Linear."""
        return TokenDecoder(backbone.embed_dim, self.outputs)

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Cross-entropy of ids, squared error of frames, over real tokens."""
        if self.standardize is None:
            loss = F.cross_entropy(prediction.float().transpose(1, 2), corrupted.target, reduction="none")
        else:
            loss = (prediction.float() - corrupted.target).square().mean(dim=-1)
        return mean_term(loss, corrupted.weight)


CORRUPTION = CorruptionRecipe(SequenceCorruptionConfig, SequenceCorruption)
