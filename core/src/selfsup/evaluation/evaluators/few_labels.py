"""Evaluate with few labels: N per class or a share, over several draws."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.errors import ConfigError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import output_count
from selfsup.evaluation.evaluators.finetune import finetune_encoder
from selfsup.evaluation.evaluators.finetune_config import FinetuneConfig
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.maths.metrics import HEADLINES, label_metrics, row_scores
from selfsup.evaluation.subsets import Int64, expected_overlap, few_label_rows, flipped_labels, labelled_subset

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_log = logging.getLogger(__name__)

Predict = Callable[[Split, Int64, int], Tensor]
"""Labelled rows, indices of the rows to use, and the number of the draw, to outputs for all test rows: log-probabilities
[M, K] of classes, log-odds [M, K] of several, or numbers [M]."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class FewLabelsConfig(Config):
    """Options of the few-labels evaluator."""

    per_class: tuple[Count, ...] = (10,)
    """Labelled rows per class; for numbers, per tenth of them; with several classes per row, that many times the number of
    classes. The first amount is the headline."""
    shares: tuple[Share, ...] = ()
    """Shares of the training labels, equally many per class (SimCLR: 0.01, 0.1; SCARF: 0.25). Without ``per_class``, the first
    share is the headline."""
    draws: int = Field(default=10, ge=1)
    """Number of draws. They depend only on the labels, so they are the same for every encoder and seed."""
    first_draw: int = Field(default=0, ge=0)
    """Number of the first draw, to divide the draws over several evaluations."""
    label_noise: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training labels to replace by a wrong class, drawn uniformly; test labels stay (SCARF: 0.3)."""
    method: Literal["linear", "finetune"] = "linear"
    """What to train: a linear probe, or all weights (for an untrained network: training from scratch)."""
    linear: LinearConfig = LinearConfig()
    """Options of the linear probe."""
    finetune: FinetuneConfig = FinetuneConfig()
    """Options of fine-tuning, except ``fraction``."""

    @model_validator(mode="after")
    def _some_amount(self) -> Self:
        if not self.per_class and not self.shares:
            raise ValueError("per_class and shares are both empty, so that there is nothing to measure; give one of them")
        return self

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle(f"the method is {self.method}", True, "finetune" if self.method == "linear" else "linear")


@dataclass(frozen=True)
class LabelDraws:
    """Scores with one amount of labels, draw by draw."""

    amount: str
    """As in the names of metrics: ``10`` labels of each class, or ``5%`` of all labels."""
    labelled: int
    """Labelled rows of a draw."""
    pool: int
    """Labelled rows that they are drawn from."""
    overlap: float
    """Share of a draw's rows that another draw has too, as it is expected: 0 to 1.

    It is :attr:`labelled` / :attr:`pool` where classes are alike in size. A class that gives all of its rows has 1.
    """
    metrics: tuple[Mapping[str, float], ...]
    """One for each draw, the headline first."""
    rows: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]
    """Metric to [M]: what each test row adds to it, averaged over the draws; its mean is the metric's mean.

    Only of metrics that are such a mean (accuracy, balanced accuracy, R²).
    """

    def mean(self, metric: str) -> float:
        """The mean of a metric over the draws."""
        return float(np.mean([scores[metric] for scores in self.metrics]))


def few_label_draws(
    train: Split,
    test: Split,
    predict: Predict,
    *,
    amount: float,
    draws: Sequence[int],
    n_classes: int,
    label_noise: float = 0.0,
) -> LabelDraws:
    """Draw labelled rows several times, and score what is predicted from them.

    Args:
        train: labelled rows to draw from.
        test: rows that the scores are of.
        predict: what is fitted on the rows that were drawn.
        amount: labelled rows of each class (an int), or the share of all labels (a float).
        draws: numbers of the draws.
        n_classes: K, where labels are no numbers.
        label_noise: share of the labels of ``train`` that are made wrong, others in each draw.

    Raises:
        ConfigError: the share holds fewer rows than there are classes, or labels that are no classes are to be made wrong.
    """
    if label_noise and train.label_kind != "class":
        raise ConfigError(
            f"few-labels.label_noise={label_noise} is not allowed: it gives rows another class, and these labels are not one "
            "class a row."
        )
    targets = test.targets()
    metrics: list[dict[str, float]] = []
    sizes: list[int] = []
    overlaps: list[float] = []
    sums: dict[str, Tensor] = {}
    for draw in draws:
        labels = train.targets().numpy()
        told = train
        if label_noise:
            labels = flipped_labels(labels, label_noise, seed=draw)
            told = replace(train, labels=labels)  # it shares the embeddings
        if isinstance(amount, int):
            rows = few_label_rows(labels, amount, draw=draw, n_classes=n_classes)
        else:
            rows = labelled_subset(labels, amount, seed=draw)
        sizes.append(len(rows))
        overlaps.append(expected_overlap(labels, rows))
        outputs = predict(told, rows, draw)
        metrics.append(label_metrics(train.label_kind, outputs, targets))
        for name, values in row_scores(train.label_kind, outputs, targets).items():
            sums[name] = sums.get(name, torch.zeros(())) + values
    return LabelDraws(
        amount_name(amount),
        round(float(np.mean(sizes))),
        len(train.targets()),
        float(np.mean(overlaps)),
        tuple(metrics),
        {name: (total / len(draws)).numpy() for name, total in sums.items()},
    )


def amount_name(amount: float) -> str:
    """``10`` for ten labels of each class, ``5%`` for a twentieth of all labels."""
    return str(amount) if isinstance(amount, int) else f"{100 * amount:g}%"


@dataclass(frozen=True)
class FewLabels:
    """Fits a probe, or all weights, on a few labelled rows of each class, several times."""

    config: FewLabelsConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """``accuracy@10``, ``accuracy@10_std`` and so on of ``test``: means over the draws, and the headline's deviation.

        A share that holds fewer rows than there are classes is left out with a warning.

        Raises:
            ConfigError: every amount does, or ``label_noise`` is asked for where a row has no one class.
        """
        return few_label_metrics(self.measure(encoder, train, test, seed=seed), HEADLINES[train.label_kind])

    def measure(
        self, encoder: Encoder, train: Split, test: Split, *, seed: int, predict: Predict | None = None
    ) -> list[LabelDraws]:
        """The scores of each draw, by amount of labels: those of ``per_class`` in their order, then those of ``shares``.

        Args:
            encoder: what is measured.
            train: labelled rows to draw from.
            test: rows that the scores are of.
            seed: of fine-tuning; draws and probes do not depend on it.
            predict: in the place of the probe, or of fine-tuning.

        Raises:
            ConfigError: as :meth:`evaluate`.
        """
        n_classes = output_count("few-labels", train, test)
        config = self.config
        if config.per_class:
            _warn_of_small_classes(train, config.per_class)
        amounts: list[float] = [*dict.fromkeys(config.per_class), *_possible(train, config)]
        predict = predict or (
            _probe(encoder, test, n_classes, config.linear)
            if config.method == "linear"
            else trained_from(lambda draw: encoder, test, config.finetune, seed=seed)
        )
        draws = range(config.first_draw, config.first_draw + config.draws)
        return [
            few_label_draws(
                train, test, predict, amount=amount, draws=draws, n_classes=n_classes, label_noise=config.label_noise
            )
            for amount in amounts
        ]


def _possible(train: Split, config: FewLabelsConfig) -> list[float]:
    """The shares that hold a row of each class."""
    labels = train.targets().numpy()
    kept: list[float] = []
    problem: ConfigError | None = None
    for share in dict.fromkeys(config.shares):
        try:
            labelled_subset(labels, share, seed=0)
        except ConfigError as error:
            problem = error
            _log.warning("few-labels leaves out %g %% of the labels: %s", 100 * share, error)
            continue
        kept.append(share)
    if problem is not None and not kept and not config.per_class:
        raise problem
    return kept


def _probe(encoder: Encoder, test: Split, n_classes: int, config: LinearConfig) -> Predict:
    new = test.embeddings(encoder)

    def predict(train: Split, rows: Int64, draw: int) -> Tensor:
        chosen = torch.from_numpy(rows)
        known, targets = train.embeddings(encoder)[chosen], train.targets()[chosen]
        return fit_probe(known, targets, n_classes, config, seed=draw, names=train.class_names).outputs(new)

    return predict


def trained_from(start: Callable[[int], Encoder], test: Split, config: FinetuneConfig, *, seed: int = 0) -> Predict:
    """Train all weights on the rows that are drawn.

    Args:
        start: the number of a draw to the encoder that its training starts from.
        test: rows that the scores are of.
        config: options of the training.
        seed: of the training, together with the number of the draw.
    """

    def predict(train: Split, rows: Int64, draw: int) -> Tensor:
        model = finetune_encoder(start(draw), train, config, seed=1000 * seed + draw, rows=rows)
        return model.outputs(model.encoder.embed_store(test.store, precision=test.precision))

    return predict


def few_label_metrics(measured: Sequence[LabelDraws], headline: str) -> dict[str, float]:
    """Means over the draws by ``METRIC@N``, and ``HEADLINE@N_std`` where there are several draws."""
    metrics: dict[str, float] = {}
    for draws in measured:
        for name in draws.metrics[0]:
            metrics[f"{name}@{draws.amount}"] = draws.mean(name)
            if name == headline and len(draws.metrics) > 1:
                values = [scores[name] for scores in draws.metrics]
                metrics[f"{name}@{draws.amount}_std"] = float(np.std(values, ddof=1))
    return metrics


def _warn_of_small_classes(train: Split, per_class: Sequence[int]) -> None:
    if train.label_kind != "class":
        return
    sizes = torch.bincount(train.targets(), minlength=len(train.class_names))
    small = [train.class_names[k] if train.class_names else str(k) for k in range(len(sizes)) if sizes[k] < max(per_class)]
    if small:
        shown = ", ".join(small[:5]) + (", ..." if len(small) > 5 else "")
        _log.warning("few-labels: %d classes have fewer than %d labelled rows (%s); they give all of theirs.",
                     len(small), max(per_class), shown)  # fmt: skip


RECIPE = EvaluatorRecipe(FewLabelsConfig, FewLabels)
