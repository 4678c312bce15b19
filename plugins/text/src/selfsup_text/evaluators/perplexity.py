"""Perplexity: how well a decoder predicts the next token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from selfsup.errors import DataError
from selfsup.evaluation import EvaluatorRecipe, Split
from selfsup.runtime import evaluation_mode
from selfsup.types import Batch
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.evaluators.vocabulary_probe import Examples, HeadConfig, score_head, text_backbone_of, vocabulary_head

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_BATCH = 64


class PerplexityConfig(HeadConfig):
    """Options of the perplexity evaluator."""

    max_rows: int = Field(default=2000, ge=1)
    """Test texts at most, drawn with the seed."""


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean of -log p(token | those before it) over test texts.

    A language model is scored with its own vocabulary head, and the number is what the transformers library computes for it.
    For the encoder of another task a head is fitted on the frozen tokens of the training rows. Numbers of different tokenizers
    are of different tokens. The first token of a text counts where a class token stands in front of it, and is given where not
    (GPT-2).
    """

    config: PerplexityConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """``perplexity``, ``cross_entropy`` (nats a token), ``accuracy`` and the number of ``tokens``, of ``test``.

        Raises:
            ConfigError: the backbone is no decoder.
            DataError: no text has two tokens.
        """
        backbone = text_backbone_of(encoder, "perplexity", causal=True)
        head = vocabulary_head(encoder, backbone, train.store, next_tokens, self.config, seed)
        nats, hits, tokens = 0.0, 0, 0
        generator = torch.Generator(encoder.device).manual_seed(seed)
        for batch in drawn_batches(encoder, test, self.config.max_rows, _BATCH, seed):
            with evaluation_mode(encoder):
                examples = next_tokens(backbone, batch, generator)
            said = score_head(head, examples)
            nats, hits, tokens = nats + said.nats, hits + said.hits, tokens + said.tokens
        return figures("perplexity", nats, hits, tokens)


def next_tokens(backbone: TextBackbone, batch: Batch, generator: torch.Generator) -> Examples:
    """Predict every real token that has one before it; nothing is drawn."""
    ahead = backbone.ahead(batch)
    return Examples(ahead.states[ahead.valid], ahead.targets[ahead.valid])


def drawn_batches(encoder: Encoder, test: Split, limit: int, size: int, seed: int) -> list[Batch]:
    """At most ``limit`` test texts, drawn with the seed, as batches of like length on the encoder's device."""
    drawn = np.random.default_rng(seed).permutation(len(test.store))[:limit]
    lengths = test.store.lengths("ids")
    order = np.sort(drawn) if lengths is None else drawn[np.argsort(lengths[drawn], kind="stable")]
    batches = []
    for start in range(0, len(order), size):
        batch = encoder.processor.collate(test.store.read(order[start : start + size]))
        batches.append({key: value.to(encoder.device) for key, value in batch.items()})
    return batches


def figures(name: str, nats: float, hits: int, tokens: int) -> dict[str, float]:
    """The metrics from sums over tokens.

    Raises:
        DataError: there were none.
    """
    if not tokens:
        raise DataError("The test texts are too short: no token has another one before it.")
    return {name: math.exp(nats / tokens), "cross_entropy": nats / tokens, "accuracy": hits / tokens, "tokens": float(tokens)}


RECIPE = EvaluatorRecipe(PerplexityConfig, Perplexity)
