"""Retrieval: check whether the nearest rows of a query have its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.errors import DataError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import class_count
from selfsup.evaluation.maths.neighbours import nearest

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_CHUNK_NUMBERS = 16_000_000
"""Scores that are ranked at once (64 MB)."""
_ROUNDING = 1e-6
"""Cosines that differ by at most this are ties: a few times the rounding error of float32 inner products."""


class Hits(NamedTuple):
    """The best right answer to each query."""

    ranks: Tensor
    """[Q] float64, from 1; a fraction if right and wrong rows tie."""
    right: Tensor
    """[Q] long, number of right rows in the gallery."""


def recall_at(queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, ks: Sequence[int]) -> list[float]:
    """R@k for each k: the share of queries with at least one row of their class among their k nearest by cosine.

    Jégou et al. 2011, as in Oh Song et al. 2016 (arXiv 1511.06452). ``k`` is at most N.

    Args:
        queries: [Q, D].
        query_labels: [Q] long.
        gallery: [N, D].
        gallery_labels: [N] long.
        ks: values of k.
    """
    largest = min(max(ks), len(gallery))
    indices = nearest(F.normalize(queries, dim=1), F.normalize(gallery, dim=1), largest).indices
    hits = gallery_labels[indices] == query_labels.unsqueeze(1)
    return [float(hits[:, :k].any(dim=1).double().mean()) for k in ks]


def mean_average_precision(queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor) -> float:
    """Mean over queries of the average precision of the whole gallery, ranked by cosine.

    AP = 1/R Σ_i i / rank_i over the R gallery rows of the query's class (``sklearn.metrics.average_precision_score``).
    Scores that differ only in the last bit of float32 are equal, and among equal scores other classes rank first.

    Args:
        queries: [Q, D], of classes that the gallery has.
        query_labels: [Q] long.
        gallery: [N, D].
        gallery_labels: [N] long.
    """
    queries, gallery = F.normalize(queries, dim=1).cpu(), F.normalize(gallery, dim=1).cpu()
    step = min(len(queries), max(1, _CHUNK_NUMBERS // len(gallery)))
    buffer = torch.empty(step, len(gallery))
    total = 0.0
    for first in range(0, len(queries), step):
        scores = buffer[: len(queries[first : first + step])]
        torch.mm(queries[first : first + step], gallery.T, out=scores)
        # 2 - score is positive and smallest for the best; positive floats are ordered like their bits. The last bit marks rows
        # of the query's class, so that one sort of plain numbers ranks both together.
        keys = scores.neg_().add_(2).view(torch.int32).bitwise_and_(-2)
        keys.bitwise_or_(query_labels[first : first + step].unsqueeze(1).cpu() == gallery_labels.cpu())
        for row in keys.numpy():
            row.sort()  # by row: it stays in the processor's cache
            ranks = np.flatnonzero(row & 1) + 1
            total += float((np.arange(1, len(ranks) + 1) / ranks).mean())
    return total / len(queries)


def first_hit_ranks(queries: Tensor, gallery: Tensor, labels: Sequence[tuple[Tensor, Tensor]]) -> Hits:
    """The rank of the first right row in the gallery by cosine; a row is right if one pair of labels is equal.

    Scores that differ by less than the rounding error of float32 are ties. If h right and w wrong rows tie for the first right
    place, the first right one has on average rank w / (h + 1) + 1 after all better ones; with one right row this is the mean
    rank of the ties. So embeddings that are all equal rank like a random guess.

    Args:
        queries: [Q, D].
        gallery: [N, D].
        labels: pairs of [Q] and [N] long; at least one row of the gallery is right for each query.
    """
    queries, gallery = F.normalize(queries.float(), dim=1), F.normalize(gallery.float(), dim=1)
    step = max(1, _CHUNK_NUMBERS // len(gallery))
    ranks, counts = [], []
    for first in range(0, len(queries), step):
        part = slice(first, first + step)
        scores = queries[part] @ gallery.T
        right = torch.zeros_like(scores, dtype=torch.bool)
        for asked, held in labels:
            right |= asked[part].unsqueeze(1) == held
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        better = (scores > best + _ROUNDING).sum(dim=1)
        tied = (scores - best).abs() <= _ROUNDING
        hits, wrong = (tied & right).sum(dim=1), (tied & ~right).sum(dim=1)
        ranks.append(better + 1 + wrong.double() / (hits + 1))
        counts.append(right.sum(dim=1))
    return Hits(torch.cat(ranks), torch.cat(counts))


class RetrievalConfig(Config):
    """Options of the retrieval evaluator."""

    ks: tuple[PositiveInt, ...] = Field(default=(1, 5, 10), min_length=1)
    """Values of k for R@k."""


@dataclass(frozen=True)
class Retrieval:
    """Retrieves training rows of the class of each test row."""

    config: RetrievalConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Mean average precision, and R@k for each k, with test rows as queries; nothing is random.

        A query whose class is not among the training rows cannot be answered and is left out.
        """
        class_count("retrieval", train, test)
        answerable = torch.isin(test.targets(), train.targets())
        if not answerable.any():
            raise DataError("The evaluator 'retrieval' found no test row of a class that is among the training rows.")
        queries, labels = test.embeddings(encoder)[answerable], test.targets()[answerable]
        gallery, gallery_labels = train.embeddings(encoder), train.targets()
        recalls = recall_at(queries, labels, gallery, gallery_labels, self.config.ks)
        return {
            "map": mean_average_precision(queries, labels, gallery, gallery_labels),
            **{f"recall_at_{k}": value for k, value in zip(self.config.ks, recalls, strict=True)},
        }


RECIPE = EvaluatorRecipe(RetrievalConfig, Retrieval)
