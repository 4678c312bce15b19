"""Perplexity of decoders: how well they predict the next token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import nn

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
    """Most test texts, drawn with the seed."""


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean of -log p(token | earlier tokens) over test texts.

    A language model is scored with its own vocabulary head, with the same result as in the transformers library. For encoders
    of other tasks a head is fitted on the frozen tokens of the training rows. Values for different tokenizers are not
    comparable. The first token of a text is scored if there is a class token before it, and given if not (GPT-2).
    """

    config: PerplexityConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """``perplexity``, ``cross_entropy`` (nats per token), ``accuracy`` and the number of ``tokens`` of ``test``.

        Raises:
            ConfigError: the backbone is not a decoder.
            DataError: no text has two tokens.
        """
        backbone = text_backbone_of(encoder, "perplexity", causal=True)
        head = vocabulary_head(encoder, backbone, train.store, next_tokens, self.config, seed)
        batches = drawn_batches(encoder, test, self.config.max_rows, _BATCH, seed)
        return scores("perplexity", encoder, head, batches, lambda batch: next_tokens(backbone, batch))


def next_tokens(backbone: TextBackbone, batch: Batch, generator: torch.Generator | None = None) -> Examples:
    """Every token with a predecessor, to predict from the state before it; nothing is random."""
    ahead = backbone.ahead(batch)
    return Examples(ahead.states[ahead.valid], ahead.targets[ahead.valid])


def drawn_batches(encoder: Encoder, test: Split, limit: int, size: int, seed: int) -> list[Batch]:
    """At most ``limit`` test texts, drawn with the seed, in batches of similar length on the encoder's device."""
    drawn = np.random.default_rng(seed).permutation(len(test.store))[:limit]
    lengths = test.store.lengths("ids")
    order = np.sort(drawn) if lengths is None else drawn[np.argsort(lengths[drawn], kind="stable")]
    batches = []
    for start in range(0, len(order), size):
        batch = encoder.processor.collate(test.store.read(order[start : start + size]))
        batches.append({key: value.to(encoder.device) for key, value in batch.items()})
    return batches


def scores(
    name: str, encoder: Encoder, head: nn.Module, batches: Iterable[Batch], make: Callable[[Batch], Examples]
) -> dict[str, float]:
    """The metrics over the examples that ``make`` takes from each batch; the perplexity is called ``name``.

    Raises:
        DataError: there are no examples.
    """
    nats, hits, tokens = 0.0, 0, 0
    for batch in batches:
        with evaluation_mode(encoder):
            examples = make(batch)
        score = score_head(head, examples)
        nats, hits, tokens = nats + score.nats, hits + score.hits, tokens + score.tokens
    if not tokens:
        raise DataError("The test texts are too short: no token has context to predict it from.")
    return {name: math.exp(nats / tokens), "cross_entropy": nats / tokens, "accuracy": hits / tokens, "tokens": float(tokens)}


RECIPE = EvaluatorRecipe(PerplexityConfig, Perplexity)
