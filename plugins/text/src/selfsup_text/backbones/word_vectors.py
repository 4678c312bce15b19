"""Word vectors: a table of embeddings, and a text is the mean of its tokens'. The strong cheap baseline."""

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
    """Width D; 300 in the paper of word2vec."""


class WordVectors(Backbone):
    """Embeddings without a network behind them: what :mod:`selfsup_text.tasks.word2vec` trains."""

    modality: ClassVar[str] = "text"

    def __init__(self, config: WordVectorsConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.dim
        self.word_embeddings = nn.Embedding(int(info["vocab_size"]), config.dim)
        nn.init.normal_(self.word_embeddings.weight, std=1 / math.sqrt(config.dim))

    def forward(self, batch: Batch) -> Encoded:
        """Look the ids up, and take the mean over those that are not padding."""
        tokens = self.word_embeddings(batch["ids"])
        return Encoded(mean_over_tokens(tokens, batch["padding"]), tokens, (tokens.shape[1],), batch["padding"])


RECIPE = BackboneRecipe(config=WordVectorsConfig, build=WordVectors)
"""``word-vectors``."""
