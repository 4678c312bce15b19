"""Anomaly detection: score test rows by their distance to the nearest normal training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.errors import ConfigError, DataError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import class_count
from selfsup.evaluation.maths.neighbours import nearest

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


def anomaly_scores(queries: Tensor, normal: Tensor, *, k: int = 2) -> Tensor:
    """Mean cosine distance to the ``k`` nearest normal rows, [Q].

    Bergman, Cohen and Hoshen 2020 (DN2, arXiv 2002.10445, section 3.1), with cosine instead of Euclidean distance.

    Args:
        queries: [Q, D].
        normal: [N, D], at least one row.
        k: neighbours, at most N.
    """
    scores, _ = nearest(F.normalize(queries, dim=1), F.normalize(normal, dim=1), min(k, len(normal)))
    return (1 - scores).mean(dim=1)


class AnomalyConfig(Config):
    """Options of the anomaly evaluator."""

    k: int = Field(default=2, ge=1)
    """Nearest normal rows whose distance is averaged (DN2: 2)."""
    normal: str = ""
    """Name (or id) of the class that is normal; empty: each class in turn, and the mean is reported."""


@dataclass(frozen=True)
class Anomaly:
    """Treats the training rows of one class as normal, and detects other classes among the test rows."""

    config: AnomalyConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """AUROC (mean over normal classes, and the worst of them) on ``test``; nothing is random."""
        n_classes = class_count("anomaly", test, train)  # the test rows must be of two classes; the normal rows need not
        names = test.class_names or tuple(str(c) for c in range(n_classes))
        classes = self._normal_classes(names, train.targets(), test.targets())
        train_embeddings, test_embeddings = train.embeddings(encoder), test.embeddings(encoder)
        areas = []
        for c in classes:
            scores = anomaly_scores(test_embeddings, train_embeddings[train.targets() == c], k=self.config.k)
            areas.append(float(roc_auc_score((test.targets() != c).numpy(), scores.numpy())))
        return {"auroc": float(np.mean(areas)), "auroc_worst_class": min(areas)}

    def _normal_classes(self, names: tuple[str, ...], train: Tensor, test: Tensor) -> list[int]:
        in_both = sorted(set(train.tolist()) & set(test.tolist()))
        if not self.config.normal:
            if not in_both:
                raise DataError("The evaluator 'anomaly' found no class that is among both the training and the test rows.")
            return in_both
        if self.config.normal not in names:
            raise ConfigError(
                f"anomaly.normal={self.config.normal!r} is no class of the data. The classes are: {', '.join(names)}."
            )
        chosen = names.index(self.config.normal)
        if chosen not in in_both:
            raise DataError(
                f"The class {self.config.normal!r} (anomaly.normal) has to be among the training and the test rows."
            )
        return [chosen]


RECIPE = EvaluatorRecipe(AnomalyConfig, Anomaly)
