"""The linear probe: fit a linear model on frozen embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import output_count
from selfsup.evaluation.maths.class_weights import ClassWeight, row_weights, weight_table
from selfsup.evaluation.maths.logistic import Logistic, Standardizer, fit_path
from selfsup.evaluation.maths.metrics import label_metrics
from selfsup.evaluation.maths.penalty import choose_penalty
from selfsup.evaluation.maths.ridge import Ridge, fit_ridge

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_PATIENCE = 2
"""Consecutive penalties with a worse held-out loss that end the path, since weaker ones overfit even more."""


class LinearConfig(Config):
    """Options of the linear probe."""

    l2: tuple[float, ...] = Field(default=(1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5), min_length=1)
    """Penalties to choose from, on mean cross-entropy and standardised features (CLIP: 96 values over 12 decades)."""
    ridge: tuple[float, ...] = Field(
        default=(100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8),
        min_length=1,
    )
    """Penalties to choose from for numbers, on half the mean squared error and standardised features."""
    tolerance: float = Field(default=1e-5, gt=0)
    """The fit stops when it expects to gain less than this, in nats."""
    class_weight: ClassWeight = "none"
    """Weights of rows by class: ``none`` (all 1), ``balanced`` (each class has the same total), or class name to weight."""


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe."""

    standardizer: Standardizer
    model: Logistic | Ridge
    l2: float
    """The penalty that was chosen."""
    several: bool = False
    """Whether a row may have several classes."""

    def outputs(self, embeddings: Tensor) -> Tensor:
        """[N, D] embeddings to [N, K] log-probabilities, [N, K] log-odds of each of several classes, or [N] numbers."""
        features = self.standardizer(embeddings)
        if isinstance(self.model, Ridge):
            return self.model.predict(features)
        return self.model.logits(features) if self.several else self.model.log_probabilities(features)


def fit_probe(
    embeddings: Tensor, targets: Tensor, n_classes: int, config: LinearConfig, *, seed: int, names: Sequence[str] = ()
) -> Probe:
    """Fit a linear model whose L2 penalty is chosen on held-out training rows.

    It is a multinomial logistic regression; one binary logistic regression per class if rows have several; or a ridge
    regression of numbers. The penalties are fitted from strong to weak, each starting from the previous fit; the one with the
    best accuracy on held-out rows (without a single class per row: the lowest loss) is fitted again on all rows
    (:func:`~selfsup.evaluation.maths.penalty.choose_penalty`; Radford et al. 2021, CLIP, arXiv 2103.00020, A.3).

    Args:
        embeddings: [N, D] float.
        targets: [N] long class ids; [N, K] of 0 and 1; or [N] float numbers.
        n_classes: K; unused for numbers.
        config: options.
        seed: of the folds.
        names: K class names, if ``config.class_weight`` names classes.

    Raises:
        ConfigError: the class weights or penalties do not fit the labels.
    """
    numbers = targets.dim() == 1 and targets.is_floating_point()
    for name in ("l2", "tolerance") if numbers else ("ridge",):
        if name in config.model_fields_set:
            other = "numbers, whose penalties are linear.ridge" if numbers else "classes, whose penalties are linear.l2"
            raise ConfigError(f"linear.{name} has no effect: the labels are {other}. Leave it out.")
    table = weight_table(config.class_weight, targets, n_classes, names, what="linear")
    weights = None if table is None else row_weights(table, targets).to(embeddings.dtype)
    standardizer = Standardizer.fit(embeddings)
    features = standardizer(embeddings)
    if numbers:
        path = sorted(config.ridge, reverse=True)

        def squared_errors(rest: Tensor, held: Tensor) -> Iterator[tuple[float, float]]:
            for model in fit_ridge(features[rest], targets[rest], path):
                yield 0.0, float((model.predict(features[held]) - targets[held]).square().sum())

        best = choose_penalty(targets, len(path), squared_errors, seed=seed)
        return Probe(standardizer, fit_ridge(features, targets, [path[best]])[0], path[best])
    path = sorted(config.l2, reverse=True)

    def scores(rest: Tensor, held: Tensor) -> Iterator[tuple[float, float]]:
        own, others = (None, None) if weights is None else (weights[rest], weights[held])
        tolerance = 10 * config.tolerance
        for model in fit_path(features[rest], targets[rest], n_classes, path, weights=own, tolerance=tolerance):
            yield _held_out(model, features[held], targets[held], others)

    best = choose_penalty(targets, len(path), scores, seed=seed, patience=_PATIENCE)
    # From the strong end on, the last fit starts close to its minimum.
    last = path[: best + 1][-2:]
    for classifier in fit_path(features, targets, n_classes, last, weights=weights, tolerance=config.tolerance):
        final = classifier
    return Probe(standardizer, final, path[best], targets.dim() == 2)


def _held_out(model: Logistic, features: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[float, float]:
    """The total weight of correctly predicted rows (0 for several classes per row), and the summed loss."""
    if targets.dim() == 2:
        losses = F.binary_cross_entropy_with_logits(model.logits(features).double(), targets.double(), reduction="none")
        return 0.0, float((losses if weights is None else losses * weights).sum())
    log_p = model.log_probabilities(features)
    hits, losses = (log_p.argmax(dim=1) == targets).double(), F.nll_loss(log_p.double(), targets, reduction="none")
    if weights is not None:
        hits, losses = hits * weights, losses * weights
    return float(hits.sum()), float(losses.sum())


@dataclass(frozen=True)
class Linear:
    """Fits a linear probe on training rows and scores it on test rows."""

    config: LinearConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """The metrics on ``test`` that suit the kind of labels (accuracy, mAP or R² first), and the chosen penalty.

        Raises:
            ConfigError: the class weights do not fit the labels.
        """
        n_classes = output_count("linear", train, test)
        embeddings, targets = train.embeddings(encoder), train.targets()
        probe = fit_probe(embeddings, targets, n_classes, self.config, seed=seed, names=train.class_names)
        return {**label_metrics(train.label_kind, probe.outputs(test.embeddings(encoder)), test.targets()), "l2": probe.l2}


RECIPE = EvaluatorRecipe(LinearConfig, Linear)
