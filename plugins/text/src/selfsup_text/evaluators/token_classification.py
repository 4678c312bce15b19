"""Token classification: a linear probe predicts each word's tag from its frozen tokens."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import Field

from selfsup.config import Config
from selfsup.errors import DataError
from selfsup.evaluation import EvaluatorRecipe, LinearConfig, Split, classification_metrics, fit_probe
from selfsup_text.evaluators.entities import entity_f1, is_bio
from selfsup_text.evaluators.tagged_words import Sentence, read_sentences, word_vectors

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_log = logging.getLogger(__name__)


class TokenClassificationConfig(Config):
    """Options of the token classification probe."""

    tags: str = ""
    """Column of the tags (lists, or strings split at white space); empty: ``tags``, ``ner_tags``, ..., or the only list."""
    words: str = ""
    """Column of the words as lists; empty: the text, split at white space."""
    pooling: Literal["first", "mean"] = "first"
    """The vector of a word with several tokens: its first token's (BERT), or their mean."""
    max_words: int = Field(default=50_000, ge=1)
    """Most training words; whole sentences are drawn with the seed."""
    linear: LinearConfig = LinearConfig()
    """Options of the linear probe."""


@dataclass(frozen=True)
class TokenClassification:
    """Fits a linear probe on the words of the training rows and scores it on those of the test rows."""

    config: TokenClassificationConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Accuracy, macro-F1 and cross-entropy over words of ``test``; ``entity_f1`` if the tags mark entities (B-, I-, O).

        Raises:
            ColumnError: the tags cannot be found.
            ConfigError: the backbone gives no tokens.
            DataError: words and tags do not match, or all training words have one tag.
        """
        options = {"words": self.config.words, "tags": self.config.tags}
        known, wanted = read_sentences(train, **options), read_sentences(test, **options)
        known = _draw(known, self.config.max_words, seed)
        seen = word_vectors(encoder, known, pooling=self.config.pooling)
        names = sorted(set(seen.tags))
        if len(names) < 2:
            raise DataError(
                f"All {len(seen.tags)} training words have the tag {names[0]!r}, but a classifier needs at least two tags."
            )
        place = {name: i for i, name in enumerate(names)}
        targets = torch.tensor([place[name] for name in seen.tags])
        probe = fit_probe(seen.vectors, targets, len(names), self.config.linear, seed=seed)
        new = word_vectors(encoder, wanted, pooling=self.config.pooling)
        if strange := sorted(set(new.tags) - place.keys()):
            shown = ", ".join(strange)
            _log.warning("token-classification: no training word has these tags, so they are scored as wrong: %s", shown)
            place |= {tag: len(names) + i for i, tag in enumerate(strange)}
        log_p = probe.outputs(new.vectors)
        if strange:
            lowest = log_p.new_full((len(log_p), len(strange)), math.log(torch.finfo(log_p.dtype).tiny))
            log_p = torch.cat([log_p, lowest], dim=1)
        metrics = classification_metrics(log_p, torch.tensor([place[name] for name in new.tags]))
        if is_bio(names):
            metrics["entity_f1"] = entity_f1([names[int(i)] for i in log_p.argmax(dim=1)], new.tags, new.ends)
        return metrics


def _draw(sentences: list[Sentence], limit: int, seed: int) -> list[Sentence]:
    """Sentences in random order, as many as fit into ``limit`` words (at least one)."""
    order = np.random.default_rng(seed).permutation(len(sentences))
    taken = np.cumsum([len(sentences[i].words) for i in order])
    return [sentences[i] for i in order[: max(1, int((taken <= limit).sum()))]]


RECIPE = EvaluatorRecipe(TokenClassificationConfig, TokenClassification)
