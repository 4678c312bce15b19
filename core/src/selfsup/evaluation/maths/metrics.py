"""Scores of predictions against labels.

scikit-learn takes a second to import, so it is imported where it is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
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

    AUROC and average precision are of the second class against the first. They are left out where test rows are of one alone,
    and NaN where a score is NaN.

    Args:
        log_probabilities: [N, K].
        targets: [N] long.
    """
    from sklearn import metrics as scores

    predictions = log_probabilities.argmax(dim=1)
    found = {
        "accuracy": accuracy(predictions, targets),
        "macro_f1": scores.f1_score(targets.numpy(), predictions.numpy(), average="macro", zero_division=0),
        "balanced_accuracy": balanced_accuracy(predictions, targets),
        "cross_entropy": cross_entropy(log_probabilities, targets),
    }
    if log_probabilities.shape[1] == 2 and len(np.unique(targets.numpy())) == 2:
        margin = _finite(log_probabilities[:, 1] - log_probabilities[:, 0])
        areas = {"auroc": scores.roc_auc_score, "average_precision": scores.average_precision_score}
        found |= {name: np.nan if margin is None else area(targets.numpy(), margin) for name, area in areas.items()}
    return {name: float(value) for name, value in found.items()}


def several_classes_metrics(log_odds: Tensor, targets: Tensor) -> dict[str, float]:
    """mAP (the headline), micro-F1 and macro-F1 of several classes a row; a class is predicted where it is likelier than not.

    mAP is the mean over classes of the average precision, over those that a test row has; macro-F1 is over those that a test
    row has or that are predicted for one (scikit-learn's ``zero_division=nan``). Of one class (K = 1) both F1 are that class's.
    mAP is NaN where a score is NaN.

    Args:
        log_odds: [N, K], or any scores that are above 0 where a class is predicted.
        targets: [N, K] of 0 and 1.
    """
    from sklearn import metrics as scores

    truth, predicted, odds = targets.bool().numpy(), (log_odds > 0).numpy(), _finite(log_odds)
    there = truth.any(axis=0)
    # scikit-learn takes one column for a problem of two classes, and would count the absence of the class as the other.
    f1 = {
        f"{kind}_f1": scores.f1_score(truth, predicted, average=kind if truth.shape[1] > 1 else "binary", zero_division=np.nan)
        for kind in ("micro", "macro")
    }
    area = np.nan if odds is None or not there.any() else scores.average_precision_score(truth[:, there], odds[:, there])
    return {name: float(value) for name, value in {"map": area, **f1}.items()}


def _finite(scores: Tensor) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Scores of any shape as scikit-learn takes them: infinite ones as the largest numbers; None where one is NaN."""
    return None if scores.isnan().any() else scores.double().nan_to_num().numpy()


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


def balanced_accuracy(predictions: Tensor, targets: Tensor) -> float:
    """Mean over the classes of ``targets`` ([N] long) of the share of their rows that are predicted right."""
    from sklearn.metrics import recall_score

    return float(recall_score(targets.numpy(), predictions.numpy(), labels=np.unique(targets.numpy()), average="macro"))


def cross_entropy(log_probabilities: Tensor, targets: Tensor) -> float:
    """Mean of -log p(true class), in nats; ``log_probabilities`` is [N, K], ``targets`` [N] long."""
    return float(F.nll_loss(log_probabilities.double(), targets))
