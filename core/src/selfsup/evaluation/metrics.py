"""Scores of predictions against labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def accuracy(predictions: Tensor, targets: Tensor) -> float:
    """Share of rows whose predicted class ([N] long) is the true one ([N] long)."""
    return float((predictions == targets).double().mean())


def macro_f1(predictions: Tensor, targets: Tensor) -> float:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), each class counting alike.

    Over the classes that occur in ``targets`` or in ``predictions`` (both [N] long), as ``sklearn.metrics.f1_score`` with
    ``average="macro"`` does.
    """
    n = int(torch.cat([predictions, targets]).max()) + 1
    hits = torch.bincount(targets[predictions == targets], minlength=n).double()
    sizes = torch.bincount(predictions, minlength=n).double() + torch.bincount(targets, minlength=n).double()
    return float((2 * hits / sizes)[sizes > 0].mean())


def cross_entropy(log_probabilities: Tensor, targets: Tensor) -> float:
    """Mean of -log p(true class), in nats; ``log_probabilities`` is [N, K], ``targets`` [N] long."""
    return float(F.nll_loss(log_probabilities.double(), targets))


def classification_metrics(log_probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Accuracy (the headline), macro-F1 and cross-entropy of [N, K] log-probabilities against [N] long class ids."""
    predictions = log_probabilities.argmax(dim=1)
    return {
        "accuracy": accuracy(predictions, targets),
        "macro_f1": macro_f1(predictions, targets),
        "cross_entropy": cross_entropy(log_probabilities, targets),
    }


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting one half.

    Computed from mean ranks (Mann and Whitney 1947: U / (n_pos n_neg)), in float64.

    Args:
        scores: [N], higher means more likely positive.
        positive: [N] bool.

    Raises:
        ValueError: there is no positive row, or no negative one.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        raise ValueError(f"auroc needs rows of both kinds; got {n_positive} positive and {n_negative} negative ones")
    _, group, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    last_rank = counts.cumsum(0).double()
    mean_rank = last_rank - (counts.double() - 1) / 2
    u = float(mean_rank[group[positive]].sum()) - n_positive * (n_positive + 1) / 2
    return u / (n_positive * n_negative)
