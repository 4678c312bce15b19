"""Robustness to missing parts: what a probe on all parts loses when test rows lack one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from selfsup.artifacts import Encoder
from selfsup.config import Config, idle
from selfsup.errors import DataError
from selfsup.evaluation import (
    HEADLINES,
    EvaluatorRecipe,
    KNNConfig,
    LinearConfig,
    Split,
    fit_probe,
    knn_outputs,
    label_metrics,
    output_count,
)
from selfsup_multimodal.evaluators.rows import WithoutPart, parts_of


class MissingPartConfig(Config):
    """Options of the missing-part evaluator."""

    probe: Literal["linear", "knn"] = "linear"
    """The probe on the training rows: linear, or nearest neighbours."""
    k: int = Field(default=20, ge=1)
    """Number of neighbours if ``probe`` is ``knn``."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle(f"missing-part.probe is {self.probe}", self.probe != "knn", "k")


@dataclass(frozen=True)
class MissingPart:
    """Fits a probe on all parts, and tests it with each part removed from the test rows.

    A second probe, fitted and tested on each part alone, measures what that part holds.
    """

    config: MissingPartConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """The headline metric of the labels (accuracy, mAP, R²) on test rows with all parts, then without each part.

        ``..._drop_without_PART`` is the loss in that metric, ``..._only_PART`` the score of a probe on that part's embeddings
        alone, ``rows`` the number of test rows with all parts.

        Raises:
            DataError: no test row has all parts.
        """
        parts = parts_of(encoder, "missing-part")
        n_outputs = output_count("missing-part", train, test)
        name, targets = HEADLINES[train.label_kind], train.targets()
        whole = torch.stack([test.present(encoder, part) for part in parts]).all(dim=0)
        if not whole.any():
            raise DataError(f"The evaluator 'missing-part' found no test row with all parts ({', '.join(parts)}).")
        asked = test.targets()[whole]

        def fit(features: Tensor, rows: Tensor) -> _Fitted:
            return _Fitted(self.config, features[rows], targets[rows], n_outputs, train, seed)

        def score(probe: _Fitted, features: Tensor) -> float:
            return label_metrics(train.label_kind, probe.outputs(features[whole]), asked)[name]

        probe = fit(train.embeddings(encoder), torch.ones(len(targets), dtype=torch.bool))
        complete = score(probe, test.embeddings(encoder))
        metrics = {name: complete, "rows": float(whole.sum())}
        for part in parts:
            lacking = Encoder(
                encoder.processor,
                WithoutPart(encoder.backbone, part),
                backbone_id=encoder.backbone_id,
                backbone_options=encoder.backbone_options,
            )
            left = score(probe, lacking.embed_store(test.store, precision=test.precision))
            metrics |= {f"{name}_without_{part}": left, f"{name}_drop_without_{part}": complete - left}
        for part in parts:
            there = train.present(encoder, part)
            if there.any() and len(torch.unique(targets[there], dim=0)) > 1:
                alone = fit(train.embeddings(encoder, part=part), there)
                metrics[f"{name}_only_{part}"] = score(alone, test.embeddings(encoder, part=part))
        return metrics


class _Fitted:
    """A probe fitted on training rows."""

    def __init__(
        self, config: MissingPartConfig, features: Tensor, targets: Tensor, n_outputs: int, train: Split, seed: int
    ) -> None:
        self.config, self.features, self.targets = config, features, targets
        self.n_outputs, self.kind, self.probe = n_outputs, train.label_kind, None
        if config.probe == "linear":
            self.probe = fit_probe(features, targets, n_outputs, LinearConfig(), seed=seed, names=train.class_names)

    def outputs(self, features: Tensor) -> Tensor:
        """Its predictions: [N, K] or [N]."""
        if self.probe is not None:
            return self.probe.outputs(features)
        config = KNNConfig(k=self.config.k)
        return knn_outputs(features, self.features, self.targets, self.kind, self.n_outputs, config)


RECIPE = EvaluatorRecipe(MissingPartConfig, MissingPart)
