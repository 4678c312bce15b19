"""The linear probe: how much of the labels a linear classifier reads from frozen embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import class_count
from selfsup.evaluation.logistic import Logistic, Standardizer, fit_path
from selfsup.evaluation.metrics import classification_metrics, cross_entropy
from selfsup.evaluation.subsets import stratified_folds

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_FOLDS = 5
_PATIENCE = 2
"""So many penalties in a row with a worse held-out cross-entropy end the path: weaker ones overfit more still."""
_ONE_FOLD_FROM = 5_000
"""From so many rows on, one fold of them measures a penalty well enough."""


class LinearConfig(Config):
    """Options of the linear probe."""

    l2: tuple[float, ...] = Field(default=(1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5), min_length=1)
    """Penalties to choose from, on mean cross-entropy and standardised features (CLIP: 96 values over 12 decades)."""
    tolerance: float = Field(default=1e-5, gt=0)
    """The fit stops when it expects to gain less than this, in nats."""


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe."""

    standardizer: Standardizer
    classifier: Logistic
    l2: float
    """The penalty that was chosen."""

    def log_probabilities(self, embeddings: Tensor) -> Tensor:
        """[N, D] embeddings to [N, K]."""
        return self.classifier.log_probabilities(self.standardizer(embeddings))


def fit_probe(embeddings: Tensor, targets: Tensor, n_classes: int, config: LinearConfig, *, seed: int) -> Probe:
    """Fit a logistic regression whose L2 penalty is chosen on held-out training rows.

    The penalties are fitted from strong to weak, each from the one before, on 4/5 of the rows of each class; the one with the
    best accuracy on the others (among equals, the lower cross-entropy) is fitted again on all rows (Radford et al. 2021, CLIP,
    arXiv 2103.00020, A.3). Below 5,000 rows each fifth is held out in turn. Where no class has two rows nothing can be held
    out, and the middle penalty is taken.

    Args:
        embeddings: [N, D] float.
        targets: [N] long.
        n_classes: K.
        config: options.
        seed: of the folds.
    """
    standardizer = Standardizer.fit(embeddings)
    features = standardizer(embeddings)
    path = sorted(config.l2, reverse=True)
    best = _choose(features, targets, n_classes, path, config.tolerance, seed) if len(path) > 1 else 0
    # From the strong end on, the last fit starts close to its minimum.
    for classifier in fit_path(features, targets, n_classes, path[: best + 1][-2:], tolerance=config.tolerance):
        final = classifier
    return Probe(standardizer, final, path[best])


def _choose(features: Tensor, targets: Tensor, n_classes: int, path: list[float], tolerance: float, seed: int) -> int:
    """Place in ``path`` of the penalty that does best on held-out rows."""
    folds = torch.from_numpy(stratified_folds(targets.cpu().numpy(), _FOLDS, seed=seed)).to(targets.device)
    n_held = 1 if len(targets) >= _ONE_FOLD_FROM else _FOLDS
    correct = np.zeros(len(path))
    loss = np.zeros(len(path))
    for fold in range(n_held):
        held = folds == fold
        if not held.any():
            continue
        x, y = features[held], targets[held]
        losses: list[float] = []
        for i, model in enumerate(fit_path(features[~held], targets[~held], n_classes, path, tolerance=10 * tolerance)):
            log_p = model.log_probabilities(x)
            losses.append(cross_entropy(log_p, y))
            correct[i] += float((log_p.argmax(dim=1) == y).sum())
            loss[i] += losses[-1] * len(y)
            if i >= _PATIENCE and min(losses[-_PATIENCE:]) > losses[-_PATIENCE - 1]:
                correct[i + 1 :] = -np.inf
                break
    if not loss.any():
        return len(path) // 2
    return int(np.lexsort((loss, -correct))[0])


@dataclass(frozen=True)
class Linear:
    """Fits a linear probe on training rows and scores it on test rows."""

    config: LinearConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Accuracy, macro-F1, cross-entropy on ``test``, and the penalty that was chosen."""
        n_classes = class_count("linear", train, test)
        probe = fit_probe(train.embeddings(encoder), train.targets(), n_classes, self.config, seed=seed)
        return {**classification_metrics(probe.log_probabilities(test.embeddings(encoder)), test.targets()), "l2": probe.l2}


RECIPE = EvaluatorRecipe(LinearConfig, Linear)
