"""How many labels does the encoder save? Scores by the share of the labels that is used."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from selfsup.config import Config, idle
from selfsup.errors import ConfigError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import output_count
from selfsup.evaluation.finetune import FinetuneConfig, finetune_encoder, score
from selfsup.evaluation.linear import LinearConfig, fit_probe
from selfsup.evaluation.metrics import HEADLINES, SECOND, label_metrics
from selfsup.evaluation.subsets import flipped_labels, labelled_subset

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_log = logging.getLogger(__name__)

Fraction = Annotated[float, Field(gt=0, le=1)]


class LabelEfficiencyConfig(Config):
    """Options of the label-efficiency evaluator."""

    fractions: tuple[Fraction, ...] = Field(default=(0.01, 0.05, 0.1, 1.0), min_length=1)
    """Shares of the training labels (SimCLR: 0.01, 0.1, 1; SCARF: 0.25)."""
    label_noise: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training labels that is wrong, each another class drawn evenly; those of the test are right (SCARF: 0.3)."""
    repeats: int = Field(default=3, ge=1)
    """Draws of the labelled rows for each share; the mean and the standard deviation over them are reported."""
    method: Literal["linear", "finetune"] = "linear"
    """What is trained: a linear probe, or all weights."""
    linear: LinearConfig = LinearConfig()
    """Options of the linear probe."""
    finetune: FinetuneConfig = FinetuneConfig()
    """Options of fine-tuning; its ``fraction`` is set by ``fractions``."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle(f"the method is {self.method}", True, "finetune" if self.method == "linear" else "linear")


@dataclass(frozen=True)
class LabelEfficiency:
    """Trains on balanced shares of the training labels, as they are with the wrong ones of ``label_noise``."""

    config: LabelEfficiencyConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """``accuracy_1pct``, ``accuracy_1pct_std``, ``macro_f1_1pct``, and so on, on ``test``; the smallest share comes first.

        Of several classes ``map`` and ``macro_f1``, of numbers ``r2`` and ``rmse``. A share that holds fewer rows than there
        are classes is left out with a warning.

        Raises:
            ConfigError: every share does, or ``label_noise`` is asked for where a row has no one class.
        """
        n_classes = output_count("label-efficiency", train, test)
        if self.config.label_noise and train.label_kind != "class":
            raise ConfigError(
                f"label-efficiency.label_noise={self.config.label_noise} is not allowed: it gives rows another class, and "
                "these labels are not one class a row."
            )
        first, second = HEADLINES[train.label_kind], SECOND[train.label_kind]
        labels = train.targets().numpy()
        metrics: dict[str, float] = {}
        problem: ConfigError | None = None
        for fraction in sorted(set(self.config.fractions)):
            try:
                labelled_subset(labels, fraction, seed=seed)
            except ConfigError as error:
                problem = error
                _log.warning("label-efficiency leaves out %g %% of the labels: %s", 100 * fraction, error)
                continue
            runs = [self._once(encoder, train, test, n_classes, fraction, seed=seed + i) for i in range(self.config.repeats)]
            name = f"{100 * fraction:g}pct"
            scores = [run[first] for run in runs]
            metrics[f"{first}_{name}"] = float(np.mean(scores))
            if len(runs) > 1:
                metrics[f"{first}_{name}_std"] = float(np.std(scores, ddof=1))
            metrics[f"{second}_{name}"] = float(np.mean([run[second] for run in runs]))
        if problem is not None and not metrics:
            raise problem
        return metrics

    def _once(
        self, encoder: Encoder, train: Split, test: Split, n_classes: int, fraction: float, *, seed: int
    ) -> dict[str, float]:
        if self.config.label_noise:
            wrong = flipped_labels(train.targets().numpy(), self.config.label_noise, seed=seed)
            train = replace(train, labels=wrong)  # it shares the embeddings
        if self.config.method == "finetune":
            config = self.config.finetune.model_copy(update={"fraction": fraction})
            return score(finetune_encoder(encoder, train, config, seed=seed), test)
        targets = train.targets()
        rows = torch.from_numpy(labelled_subset(targets.numpy(), fraction, seed=seed))
        probe = fit_probe(
            train.embeddings(encoder)[rows], targets[rows], n_classes, self.config.linear, seed=seed, names=train.class_names
        )
        return label_metrics(train.label_kind, probe.outputs(test.embeddings(encoder)), test.targets())


RECIPE = EvaluatorRecipe(LabelEfficiencyConfig, LabelEfficiency)
