"""Gradient-boosted trees: what tables are usually given to, and what pretraining on them has to be held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.evaluation import EvaluatorRecipe, Split
from selfsup.evaluation.checks import class_count
from selfsup.evaluation.metrics import classification_metrics

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


class BoostingConfig(Config):
    """Options of boosted trees; the defaults are scikit-learn's."""

    iterations: int = Field(default=100, ge=1)
    """Trees of each class at most."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Share of each tree's advice that is taken."""
    leaf: int = Field(default=20, ge=1)
    """Training rows of a leaf at least."""
    early_stopping: bool = False
    """Hold a tenth of the training rows out, and stop when ten more trees do not help there."""


def boosted_log_probabilities(
    train: Tensor, targets: Tensor, test: Tensor, n_classes: int, config: BoostingConfig, *, seed: int
) -> Tensor:
    """Log-probabilities [M, K] of test rows by boosted trees.

    Args:
        train: [N, F] float.
        targets: [N] long.
        test: [M, F] float.
        n_classes: K; a class without a training row gets the smallest probability there is.
        config: options.
        seed: of what is held out.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=config.iterations,
        learning_rate=config.learning_rate,
        min_samples_leaf=config.leaf,
        early_stopping=config.early_stopping,
        random_state=seed,
    )
    model.fit(train.numpy(), targets.numpy())
    tiny = np.finfo(np.float64).tiny
    probabilities = np.full((len(test), n_classes), tiny)
    probabilities[:, model.classes_] = np.maximum(model.predict_proba(test.numpy()), tiny)
    return torch.from_numpy(np.log(probabilities))


@dataclass(frozen=True)
class Boosting:
    """Fits trees on training rows and scores them on test rows."""

    config: BoostingConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Accuracy, macro-F1 and cross-entropy on ``test``."""
        n_classes = class_count("boosting", train, test)
        log_p = boosted_log_probabilities(
            train.embeddings(encoder), train.targets(), test.embeddings(encoder), n_classes, self.config, seed=seed
        )
        return classification_metrics(log_p, test.targets())


RECIPE = EvaluatorRecipe(BoostingConfig, Boosting)
