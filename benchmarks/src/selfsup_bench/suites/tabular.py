"""Benchmarks of tables: digits as columns in minutes, and tables of ``SELFSUP_DATA`` over night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, UNEQUAL, Setting, heads, one_optimizer

_SHARED: Mapping[str, Any] = {**one_optimizer(lr=1e-3), "optimization.batch_size": 128}
_QUICK = Setting(
    modality="tabular",
    suites=("quick",),
    prefix="mnist-table",
    rows="4,000 digits as 196 columns",
    dataset="mnist-table",
    backbone="mlp",
    steps=800,
    overrides={**_SHARED, **CURVE},
    references=("boosting",),
)
# Most of the columns hold little ink, so that a row stays itself with a fifth of them changed; the paper's 60 % are too much.
_VIEWS: Mapping[str, Any] = {"views.rate": 0.2}
QUICK: tuple[BenchmarkSpec, ...] = (
    _QUICK.line("simclr", {**_VIEWS, "objective.hidden_dim": 256, "objective.temperature": 0.5}),
    _QUICK.line("vicreg", {**_VIEWS, "objective.output_dim": 256}),
    _QUICK.line("vime"),
    _QUICK.template("others", _VIEWS),
)

_TOKENS: Mapping[str, Any] = {"backbone.dim": 32, "backbone.depth": 2, "backbone.heads": 4}
_MATRIX = replace(_QUICK, suites=("matrix",))
MATRIX: tuple[BenchmarkSpec, ...] = (
    replace(_MATRIX, prefix="matrix-tabular").template("all", heads(256)),
    replace(_MATRIX, prefix="matrix-tabular-tokens", backbone="ft-transformer").template("all", {**_TOKENS, **heads(256)}),
)
"""Every objective on the quick suite's data, with its own views; those that need tokens on a small transformer."""


def _real(dataset: str, headline: str) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="tabular",
        suites=("real",),
        prefix=f"real-{dataset}",
        rows=f"the table {dataset}",
        dataset=dataset,
        backbone="mlp",
        headline=headline,
        steps=1000,
        overrides={**_SHARED, "evaluators.few-labels.per_class": (10, 2, 5, 25, 100)},
        references=("boosting",),
    )
    return [shared.line(task) for task in ("vime", "denoising-autoencoder", "subtab", "vicreg", "scarf", "byol")]


REAL: tuple[BenchmarkSpec, ...] = (*_real("adult", UNEQUAL), *_real("letter", "few-labels.accuracy@10"))

_OWN = Setting(
    modality="tabular",
    suites=("own",),
    prefix="own-tabular",
    rows="the user's own table",
    backbone="mlp",
    overrides={**_SHARED, "gpu.optimization.batch_size": 512},
    references=("boosting",),
)
OWN = tuple(_OWN.line(task) for task in ("vime", "denoising-autoencoder", "vicreg", "subtab"))
"""What gained with few labels on most of six tables. The perceptron is the same on every device."""


_TABLE_TASKS = {
    "mlp": ("scarf", "vime", "subtab", "denoising-autoencoder", "vicreg", "barlow-twins", "byol", "simsiam"),
    "ft-transformer": ("saint", "masked-cells", "jepa"),
}
_TABLE_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "ft-transformer": {"backbone.dim": 64, "backbone.depth": 2, "backbone.heads": 4}
}
_TABLE = Setting(
    modality="tabular",
    suites=("tasks",),
    prefix="tasks-table",
    rows="a table",
    backbone="mlp",
    steps=500,
    # With two classes of unequal size accuracy says little.
    headline="few-labels.auroc@1%",
    overrides={
        **one_optimizer(lr=1e-3),
        "optimization.batch_size": 128,
        "evaluators.few-labels.per_class": (),
        "evaluators.few-labels.shares": (0.01, 0.05, 0.25),
    },
    references=("boosting",),
)


def _table(dataset: str, options: Mapping[str, Any] | None = None, **changes: Any) -> Setting:
    made = replace(_TABLE, prefix=f"tasks-{dataset}", rows=f"the table {dataset}", dataset=dataset, **changes)
    return made.on("mlp", options or {})


_DIGITS_TABLE = _table(
    "digits-table",
    {"evaluators.few-labels.per_class": (10, 2, 5), "evaluators.few-labels.shares": ()},
    headline="few-labels.accuracy@10",
    steps=1500,
)
# SCARF's default replaces six of ten pixels, which leaves too little of a digit to recognise it.
_SCARF: Mapping[str, Any] = {"views.rate": 0.4, "objective.temperature": 0.5}
_TABLES = (
    _table("adult"),
    # How long the call took is known only after it, as its outcome is.
    _table("bank_marketing", {"processor.drop": "duration"}),
    _table("credit_default"),
    _table("letter", headline="few-labels.accuracy@1%"),
    _table("online_shoppers"),
    _table("telco_churn"),
)
TASKS: tuple[BenchmarkSpec, ...] = (
    *(spec for table in _TABLES for spec in table.lines(_TABLE_TASKS, _TABLE_NETWORKS, {})),
    *_DIGITS_TABLE.lines(_TABLE_TASKS, _TABLE_NETWORKS, {"scarf": _SCARF}),
)

_NOISY = replace(
    _table("adult", {"evaluators.few-labels.label_noise": 0.3, "evaluators.few-labels.shares": (0.01, 0.05, 0.25, 1.0)}),
    suites=("label-noise",),
    prefix="label-noise-adult",
    rows="the table adult with 30 % of the training labels wrong",
)
NOISE = tuple(_NOISY.line(task) for task in ("scarf", "vime", "subtab", "vicreg"))

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*QUICK, *MATRIX, *REAL, *OWN, *TASKS, *NOISE)
