"""Gradient-boosted trees: the usual model for tables, and so a reference for pretraining on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.evaluation import EvaluatorRecipe, Split, label_metrics, output_count

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder


class BoostingConfig(Config):
    """Options of boosted trees; the defaults are scikit-learn's."""

    iterations: int = Field(default=100, ge=1)
    """Trees at most, of each class where there are more than two."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Factor of each tree's prediction (shrinkage)."""
    leaf: int = Field(default=20, ge=1)
    """Training rows of a leaf at least."""
    early_stopping: bool = False
    """Hold a tenth of the training rows out, and stop when ten more trees do not help there."""


def boosted_outputs(
    train: Tensor, targets: Tensor, test: Tensor, n_classes: int, config: BoostingConfig, *, seed: int
) -> Tensor:
    """What boosted trees say of test rows: log-probabilities [M, K], log-odds [M, K] of several classes, or numbers [M].

    Args:
        train: [N, F] float.
        targets: [N] long; [N, K] of 0 and 1, for which there is one model a class; or [N] float numbers.
        test: [M, F] float.
        n_classes: K; a class without a training row gets the smallest probability there is.
        config: options.
        seed: of what is held out.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    options: dict[str, Any] = {
        "max_iter": config.iterations,
        "learning_rate": config.learning_rate,
        "min_samples_leaf": config.leaf,
        "early_stopping": config.early_stopping,
        "random_state": seed,
    }
    x, y, new = train.numpy(), targets.numpy(), test.numpy()
    if y.ndim == 1 and targets.is_floating_point():
        return torch.from_numpy(np.asarray(HistGradientBoostingRegressor(**options).fit(x, y).predict(new), dtype=np.float64))
    if y.ndim == 1:
        return torch.from_numpy(np.log(_probabilities(HistGradientBoostingClassifier(**options).fit(x, y), new, n_classes)))
    odds = np.zeros((len(new), n_classes))
    for k in range(n_classes):
        has = y[:, k] > 0.5
        if has.all() or not has.any():  # trees need both answers; all rows give the one there is
            odds[:, k] = np.inf if has.all() else -np.inf
            continue
        probabilities = _probabilities(HistGradientBoostingClassifier(**options).fit(x, has.astype(np.int64)), new, 2)
        odds[:, k] = np.log(probabilities[:, 1]) - np.log(probabilities[:, 0])
    return torch.from_numpy(odds)


def _probabilities(model: Any, test: Any, n_classes: int) -> Any:
    """[M, K] above 0."""
    tiny = np.finfo(np.float64).tiny
    found = np.full((len(test), n_classes), tiny)
    found[:, model.classes_] = np.maximum(model.predict_proba(test), tiny)
    return found


@dataclass(frozen=True)
class Boosting:
    """Fits trees on training rows and scores them on test rows."""

    config: BoostingConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """The metrics of the labels' kind on ``test``: accuracy, mAP or R² first."""
        n_classes = output_count("boosting", train, test)
        outputs = boosted_outputs(
            train.embeddings(encoder), train.targets(), test.embeddings(encoder), n_classes, self.config, seed=seed
        )
        return label_metrics(train.label_kind, outputs, test.targets())


RECIPE = EvaluatorRecipe(BoostingConfig, Boosting)
