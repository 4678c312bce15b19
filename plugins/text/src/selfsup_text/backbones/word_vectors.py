"""Word vectors: a text is the mean of its tokens' vectors. A cheap, strong baseline."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field
from torch import nn

from selfsup.backbones import Backbone, BackboneRecipe, Encoded, mean_over_tokens
from selfsup.config import Config
from selfsup.types import Batch, Info


class WordVectorsConfig(Config):
    """Options of word vectors."""

    dim: int = Field(default=128, ge=2)
    """Width D; 300 in the word2vec paper."""


class WordVectors(Backbone):
    """A table of embeddings without a network, trained by :mod:`selfsup_text.tasks.word2vec`."""

    modality: ClassVar[str] = "text"

    def __init__(self, config: WordVectorsConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.dim
        self.word_embeddings = nn.Embedding(int(info["vocab_size"]), config.dim)
        nn.init.normal_(self.word_embeddings.weight, std=1 / math.sqrt(config.dim))

    def forward(self, batch: Batch) -> Encoded:
        """Embed the ids, and average over tokens that are not padding."""
        tokens = self.word_embeddings(batch["ids"])
        return Encoded(mean_over_tokens(tokens, batch["padding"]), tokens, (tokens.shape[1],), batch["padding"])


RECIPE = BackboneRecipe(config=WordVectorsConfig, build=WordVectors)
