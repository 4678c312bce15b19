"""Scores of predictions against labels, as scikit-learn computes them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.data.sources.columns.labels import LabelKind

HEADLINES: dict[LabelKind, str] = {"class": "accuracy", "classes": "map", "number": "r2"}
"""The metric that stands first, by the kind of the labels; more is better in each."""
SECOND: dict[LabelKind, str] = {"class": "macro_f1", "classes": "macro_f1", "number": "rmse"}
"""The metric that is shown beside it where space is short."""


def label_metrics(kind: LabelKind, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Scores of what a model says against labels of any kind, the headline first.

    Args:
        kind: of the labels.
        outputs: [N, K] log-probabilities of classes; [N, K] log-odds of each of several classes; or [N] numbers.
        targets: [N] long; [N, K] zeros and ones; or [N] numbers.
    """
    score = {"class": classification_metrics, "classes": several_classes_metrics, "number": regression_metrics}[kind]
    return score(outputs.cpu(), targets.cpu())


def row_scores(kind: LabelKind, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """What each row adds to the metrics of :func:`label_metrics` that are a mean over rows.

    Args:
        kind: of the labels.
        outputs: as for :func:`label_metrics`.
        targets: as there.

    Returns:
        [N] float64 for ``accuracy`` and ``balanced_accuracy``, or ``r2``; nothing where a row may have several classes, since
        mAP is no mean over rows.
    """
    outputs, targets = outputs.cpu(), targets.cpu()
    if kind == "classes":
        return {}
    if kind == "number":
        spread = (targets.double() - targets.double().mean()).square().mean()
        return {"r2": 1 - (outputs.double() - targets.double()).square() / spread} if spread > 0 else {}
    hits = (outputs.argmax(dim=1) == targets).double()
    sizes = torch.bincount(targets).double()
    weight = len(targets) / (sizes[targets] * (sizes > 0).sum())
    return {"accuracy": hits, "balanced_accuracy": hits * weight}


def classification_metrics(log_probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Accuracy (the headline), macro-F1, balanced accuracy and cross-entropy; where there are two classes AUROC and AP, too.

    AUROC and average precision are of the second class against the first. They are left out where test rows are of one alone.

    Args:
        log_probabilities: [N, K].
        targets: [N] long.
    """
    predictions = log_probabilities.argmax(dim=1)
    metrics = {
        "accuracy": accuracy(predictions, targets),
        "macro_f1": macro_f1(predictions, targets),
        "balanced_accuracy": balanced_accuracy(predictions, targets),
        "cross_entropy": cross_entropy(log_probabilities, targets),
    }
    positive = targets == 1
    if log_probabilities.shape[1] == 2 and positive.any() and not positive.all():
        scores = (log_probabilities[:, 1] - log_probabilities[:, 0]).double()
        metrics["auroc"] = auroc(scores, positive)
        metrics["average_precision"] = average_precision(scores, positive)
    return metrics


def several_classes_metrics(log_odds: Tensor, targets: Tensor) -> dict[str, float]:
    """mAP (the headline), micro-F1 and macro-F1 of several classes a row; a class is predicted where it is likelier than not.

    mAP is the mean over classes of the average precision, over those that a test row has; macro-F1 is over those that a test
    row has or that are predicted for one (scikit-learn's ``zero_division=nan``).

    Args:
        log_odds: [N, K], or any scores that are above 0 where a class is predicted.
        targets: [N, K] of 0 and 1.
    """
    truth, predicted = targets.bool(), log_odds > 0
    hits = (truth & predicted).sum(dim=0).double()
    sizes = truth.sum(dim=0).double() + predicted.sum(dim=0).double()
    there = [k for k in range(targets.shape[1]) if truth[:, k].any()]
    areas = [average_precision(log_odds[:, k].double(), truth[:, k]) for k in there]
    return {
        "map": sum(areas) / len(areas) if areas else float("nan"),
        "micro_f1": float(2 * hits.sum() / sizes.sum()) if sizes.sum() > 0 else float("nan"),
        "macro_f1": float((2 * hits / sizes)[sizes > 0].mean()) if (sizes > 0).any() else float("nan"),
    }


def regression_metrics(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """R² (the headline), root mean squared error and mean absolute error, the latter two in the labels' own unit.

    R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)², with ȳ of the test rows. Where these are all equal it is 1 if all are hit, and else 0, as
    scikit-learn has it; of a single row it is NaN.

    Args:
        predictions: [N].
        targets: [N].
    """
    errors = predictions.double() - targets.double()
    squares = float(errors.square().sum())
    spread = float((targets.double() - targets.double().mean()).square().sum())
    return {
        "r2": float("nan") if len(targets) < 2 else 1 - squares / spread if spread else float(squares == 0),
        "rmse": float(errors.square().mean().sqrt()),
        "mae": float(errors.abs().mean()),
    }


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


def balanced_accuracy(predictions: Tensor, targets: Tensor) -> float:
    """Mean over the classes of ``targets`` ([N] long) of the share of their rows that are predicted right."""
    n = int(torch.cat([predictions, targets]).max()) + 1
    hits = torch.bincount(targets[predictions == targets], minlength=n).double()
    sizes = torch.bincount(targets, minlength=n).double()
    return float((hits / sizes)[sizes > 0].mean())


def cross_entropy(log_probabilities: Tensor, targets: Tensor) -> float:
    """Mean of -log p(true class), in nats; ``log_probabilities`` is [N, K], ``targets`` [N] long."""
    return float(F.nll_loss(log_probabilities.double(), targets))


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


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Σ (R_n - R_{n-1}) P_n over the thresholds, from the highest down; rows of equal score are one threshold.

    Args:
        scores: [N], higher means more likely positive.
        positive: [N] bool.

    Raises:
        ValueError: there is no positive row.
    """
    n_positive = int(positive.sum())
    if n_positive == 0:
        raise ValueError("average_precision needs a positive row, and there is none")
    _, group = torch.unique(-scores, return_inverse=True)  # the highest score is group 0
    size = torch.bincount(group).double()
    hits = torch.bincount(group[positive], minlength=len(size)).double()
    precision = hits.cumsum(0) / size.cumsum(0)
    return float((hits * precision).sum() / n_positive)
