"""Predict labels by weighted k nearest neighbours; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import output_count
from selfsup.evaluation.maths.metrics import label_metrics
from selfsup.evaluation.maths.neighbours import nearest

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


def knn_log_probabilities(
    queries: Tensor, database: Tensor, labels: Tensor, n_classes: int, *, k: int = 20, tau: float = 0.07
) -> Tensor:
    """Log-probability of each class by the votes of the ``k`` nearest rows by cosine similarity.

    The vote of a neighbour at similarity s has the weight exp(s / tau) (Wu et al. 2018, arXiv 1805.01978, section 3.4; Caron et
    al. 2021, DINO, arXiv 2104.14294). The paper only ranks the classes. For a finite cross-entropy, the share w_c of the votes
    is smoothed with one vote that is spread over all classes: (k w_c + 1/K) / (k + 1). The ranking stays.

    Args:
        queries: [Q, D].
        database: [N, D].
        labels: [N] long, in 0..n_classes-1.
        n_classes: K.
        k: neighbours that vote, at most N.
        tau: temperature.

    Returns:
        [Q, K] float32.
    """
    k = min(k, len(database))
    weights, indices = _votes(queries, database, k, tau)
    votes = torch.zeros(len(queries), n_classes, device=queries.device).scatter_add_(1, labels[indices], weights)
    return ((k * votes + 1 / n_classes) / (k + 1)).log()


def knn_mean(queries: Tensor, database: Tensor, values: Tensor, *, k: int = 20, tau: float = 0.07) -> Tensor:
    """Mean of the values of the ``k`` nearest rows, weighted as in :func:`knn_log_probabilities`.

    For zeros and ones of several classes it is each class's share of the votes.

    Args:
        queries: [Q, D].
        database: [N, D].
        values: [N] or [N, K].
        k: neighbours, at most N.
        tau: temperature.

    Returns:
        [Q] or [Q, K] float64.
    """
    weights, indices = _votes(queries, database, min(k, len(database)), tau)
    found = values.double()[indices]  # [Q, k] or [Q, k, K]
    return torch.einsum("qk,qk...->q...", weights.double(), found)


def _votes(queries: Tensor, database: Tensor, k: int, tau: float) -> tuple[Tensor, Tensor]:
    """[Q, k] weights that sum to 1, and [Q, k] indices of their rows."""
    scores, indices = nearest(F.normalize(queries.float(), dim=1), F.normalize(database.float(), dim=1), k)
    return (scores / tau).softmax(dim=1), indices


class KNNConfig(Config):
    """Options of the kNN evaluator."""

    k: int = Field(default=20, ge=1)
    """Neighbours that vote, at most the number of training rows (DINO reports the best of 10, 20, 100, 200; mostly 20)."""
    tau: float = Field(default=0.07, gt=0)
    """Temperature of the votes (Wu et al. 2018: 0.07)."""


def knn_outputs(
    queries: Tensor, database: Tensor, targets: Tensor, kind: LabelKind, n_classes: int, config: KNNConfig
) -> Tensor:
    """Predictions from the neighbours of each query, for :func:`~selfsup.evaluation.maths.metrics.label_metrics`.

    Args:
        queries: [Q, D].
        database: [N, D].
        targets: of the database, as :meth:`~selfsup.evaluation.Split.targets` gives them.
        kind: of the labels.
        n_classes: K, for classes.
        config: number of neighbours and temperature.
    """
    if kind == "class":
        return knn_log_probabilities(queries, database, targets, n_classes, k=config.k, tau=config.tau)
    outputs = knn_mean(queries, database, targets, k=config.k, tau=config.tau)
    # With several classes per row, a class is predicted above 0.
    return outputs - 0.5 if kind == "classes" else outputs


@dataclass(frozen=True)
class KNN:
    """Predicts the labels of test rows from their nearest training rows."""

    config: KNNConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """The metrics on ``test`` that suit the kind of labels; nothing is random.

        The cross-entropy is that of the smoothed votes; with several classes per row, classes with more than half of the votes
        are predicted.
        """
        n_classes = output_count("knn", train, test)
        database, targets = train.embeddings(encoder), train.targets()
        outputs = knn_outputs(test.embeddings(encoder), database, targets, train.label_kind, n_classes, self.config)
        return label_metrics(train.label_kind, outputs, test.targets())


RECIPE = EvaluatorRecipe(KNNConfig, KNN)
