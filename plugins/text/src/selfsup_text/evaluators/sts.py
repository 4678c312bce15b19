"""Semantic textual similarity: correlate the cosine of two embeddings with human scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.errors import BadRowError, DataError
from selfsup.evaluation import EvaluatorRecipe, Split
from selfsup_text.evaluators.columns import choose_column, is_number, is_text, rows_of, values_of
from selfsup_text.evaluators.correlation import pearson, spearman

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


class STSConfig(Config):
    """Options of the similarity evaluator."""

    other: str = ""
    """Column of the second sentences; empty: ``sentence_b`` or ``sentence2``, else the only other column of strings."""
    score: str = ""
    """Column of human scores, higher is more similar; empty: ``score``, else the only column of numbers."""


@dataclass(frozen=True)
class STS:
    """Compares the cosine of the embeddings of two sentences with human scores; nothing is fitted.

    One correlation over all test pairs (Gao et al. 2021, arXiv 2104.08821, appendix B: the setting "all"). Pairs with an
    unreadable sentence are left out.
    """

    config: STSConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """``spearman``, ``pearson`` and the number of ``pairs`` of ``test``.

        Raises:
            ColumnError: the second sentences or the scores cannot be found.
            DataError: a score is missing, or there are fewer than two pairs.
        """
        rows = rows_of(test, "sts")
        other = choose_column(
            rows,
            self.config.other,
            fits=is_text,
            names=("sentence_b", "sentence2", "text_b", "text2"),
            what="the second sentences",
            option="sts.other",
        )
        column = choose_column(
            rows, self.config.score, fits=is_number, names=("score", "similarity"), what="the scores", option="sts.score"
        )
        scores = [math.nan if value is None else float(value) for value in values_of(test, column)]
        unscored = next((i for i, value in enumerate(scores) if not math.isfinite(value)), None)
        if unscored is not None:
            raise DataError(
                f"{rows.describe(int(test.store.kept[unscored]))} of {rows.name} has no score in column {column!r}: leave such "
                "pairs out, or name another column with --set sts.score=COLUMN."
            )
        texts = [{"text": value} for value in values_of(test, other)]
        encoded = encoder.processor.encode_rows(texts)
        good = [i for i, item in enumerate(encoded) if not isinstance(item, BadRowError)]
        if len(good) < 2:
            raise DataError(f"{rows.name} has {len(good)} readable sentence pairs, but a correlation needs at least two.")
        order = np.argsort([len(texts[i]["text"]) for i in good], kind="stable")
        kept = [good[i] for i in order]  # sorted by length: less padding
        second = torch.from_numpy(encoder.embed([texts[i] for i in kept], precision=test.precision))
        cosine = F.cosine_similarity(test.embeddings(encoder)[kept].double(), second.double(), dim=1)
        wanted = torch.tensor([scores[i] for i in kept], dtype=torch.float64)
        return {"spearman": spearman(cosine, wanted), "pearson": pearson(cosine, wanted), "pairs": float(len(kept))}


RECIPE = EvaluatorRecipe(STSConfig, STS)
