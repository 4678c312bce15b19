"""How good is an encoder where few rows have labels? Scores with N labels a class, over several draws of the labels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import output_count
from selfsup.evaluation.finetune import FinetuneConfig, finetune_encoder
from selfsup.evaluation.linear import LinearConfig, fit_probe
from selfsup.evaluation.metrics import HEADLINES, label_metrics, row_scores
from selfsup.evaluation.subsets import Int64, few_label_rows

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_log = logging.getLogger(__name__)

Predict = Callable[[Int64, int], Tensor]
"""The labelled rows that may be used (places in the training split) and the number of the draw to outputs for all test rows:
log-probabilities [M, K] of classes, log-odds [M, K] of several, or numbers [M]."""

Count = Annotated[int, Field(ge=1)]


class FewLabelsConfig(Config):
    """Options of the few-labels evaluator."""

    per_class: tuple[Count, ...] = Field(default=(10,), min_length=1)
    """Labelled rows of each class; of numbers, of each tenth of them; of several classes a row, so many rows for each class.

    The first one is the headline.
    """
    draws: int = Field(default=10, ge=1)
    """Draws of the labelled rows. They depend on the labels alone, so every encoder and every seed gets the same ones."""
    first_draw: int = Field(default=0, ge=0)
    """Number of the first draw: several evaluations can share the draws out among them."""
    method: Literal["linear", "finetune"] = "linear"
    """What is trained on them: a linear probe, or all weights (of an untrained network: training from scratch)."""
    linear: LinearConfig = LinearConfig()
    """Options of the linear probe."""
    finetune: FinetuneConfig = FinetuneConfig()
    """Options of fine-tuning, but for its ``fraction``."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle(f"the method is {self.method}", True, "finetune" if self.method == "linear" else "linear")


@dataclass(frozen=True)
class LabelDraws:
    """Scores with one number of labels a class, draw by draw."""

    per_class: int
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
    train: Split, test: Split, predict: Predict, *, per_class: int, draws: Sequence[int], n_classes: int
) -> LabelDraws:
    """Draw labelled rows several times, and score what is predicted from them.

    Args:
        train: labelled rows to draw from.
        test: rows that the scores are of.
        predict: what is fitted on the rows that were drawn.
        per_class: labelled rows of each class.
        draws: numbers of the draws.
        n_classes: K, where labels are no numbers.
    """
    labels, targets = train.targets().numpy(), test.targets()
    metrics: list[dict[str, float]] = []
    sums: dict[str, Tensor] = {}
    for draw in draws:
        outputs = predict(few_label_rows(labels, per_class, draw=draw, n_classes=n_classes), draw)
        metrics.append(label_metrics(train.label_kind, outputs, targets))
        for name, values in row_scores(train.label_kind, outputs, targets).items():
            sums[name] = sums.get(name, torch.zeros(())) + values
    return LabelDraws(per_class, tuple(metrics), {name: (total / len(draws)).numpy() for name, total in sums.items()})


@dataclass(frozen=True)
class FewLabels:
    """Fits a probe, or all weights, on a few labelled rows of each class, several times."""

    config: FewLabelsConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """``accuracy@10``, ``accuracy@10_std`` and so on of ``test``: means over the draws, and the headline's deviation."""
        return summary(self.measure(encoder, train, test, seed=seed), HEADLINES[train.label_kind])

    def measure(
        self, encoder: Encoder, train: Split, test: Split, *, seed: int, predict: Predict | None = None
    ) -> list[LabelDraws]:
        """The scores of each draw, by number of labels in the order of ``per_class``.

        Args:
            encoder: what is measured.
            train: labelled rows to draw from.
            test: rows that the scores are of.
            seed: of fine-tuning; draws and probes do not depend on it.
            predict: in the place of the probe, or of fine-tuning.
        """
        n_classes = output_count("few-labels", train, test)
        _warn_of_small_classes(train, self.config.per_class)
        predict = predict or (
            self._probe(encoder, train, test, n_classes)
            if self.config.method == "linear"
            else self._whole(encoder, train, test, seed)
        )
        draws = range(self.config.first_draw, self.config.first_draw + self.config.draws)
        return [
            few_label_draws(train, test, predict, per_class=n, draws=draws, n_classes=n_classes)
            for n in dict.fromkeys(self.config.per_class)
        ]

    def _probe(self, encoder: Encoder, train: Split, test: Split, n_classes: int) -> Predict:
        known, targets, new = train.embeddings(encoder), train.targets(), test.embeddings(encoder)
        names, config = train.class_names, self.config.linear

        def predict(rows: Int64, draw: int) -> Tensor:
            chosen = torch.from_numpy(rows)
            return fit_probe(known[chosen], targets[chosen], n_classes, config, seed=draw, names=names).outputs(new)

        return predict

    def _whole(self, encoder: Encoder, train: Split, test: Split, seed: int) -> Predict:
        def predict(rows: Int64, draw: int) -> Tensor:
            model = finetune_encoder(encoder, train, self.config.finetune, seed=1000 * seed + draw, rows=rows)
            return model.outputs(model.encoder.embed_store(test.store, precision=test.precision))

        return predict


def summary(measured: Sequence[LabelDraws], headline: str) -> dict[str, float]:
    """Means over the draws by ``METRIC@N``, and ``HEADLINE@N_std`` where there are several draws."""
    metrics: dict[str, float] = {}
    for draws in measured:
        for name in draws.metrics[0]:
            metrics[f"{name}@{draws.per_class}"] = draws.mean(name)
            if name == headline and len(draws.metrics) > 1:
                values = [scores[name] for scores in draws.metrics]
                metrics[f"{name}@{draws.per_class}_std"] = float(np.std(values, ddof=1))
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
