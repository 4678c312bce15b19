"""Benchmarks of tables: digits as columns in minutes, and tables of ``SELFSUP_DATA`` over night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, UNEQUAL, heads, one_optimizer

_QUICK: Mapping[str, Any] = {**one_optimizer(lr=1e-3), **CURVE, "optimization.batch_size": 128}
_STEPS = 800
# Most of the columns hold little ink, so that a row stays itself with a fifth of them changed; the paper's 60 % are too much.
_VIEWS: Mapping[str, Any] = {"views.rate": 0.2}


def _quick(task: str, options: Mapping[str, Any]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"mnist-table-{task}",
        summary=f"{task} on 4,000 digits as 196 columns, {_STEPS} steps of {_QUICK['optimization.batch_size']}.",
        task=f"tabular/{task}",
        dataset="mnist-table",
        suites=("quick",),
        backbone="mlp",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_QUICK, **options},
        references=("boosting",),
    )


def _template(id: str, objectives: str, suite: str, backbone: str, options: Mapping[str, Any]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=id,
        summary=f"* on 4,000 digits as 196 columns, {_STEPS} steps of {_QUICK['optimization.batch_size']}.",
        task="tabular/*",
        dataset="mnist-table",
        suites=(suite,),
        objectives="all" if objectives == "all" else "others",
        backbone=backbone,
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_QUICK, **options},
        references=("boosting",),
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("simclr", {**_VIEWS, "objective.hidden_dim": 256, "objective.temperature": 0.5}),
    _quick("vicreg", {**_VIEWS, "objective.output_dim": 256}),
    _quick("vime", {}),
    _template("mnist-table", "others", "quick", "mlp", _VIEWS),
)
"""Three minutes of a CPU core."""

_TOKENS: Mapping[str, Any] = {"backbone.dim": 32, "backbone.depth": 2, "backbone.heads": 4}
MATRIX: tuple[BenchmarkSpec, ...] = (
    _template("mnist-table-mlp", "all", "matrix", "mlp", heads(256)),
    _template("mnist-table-cells", "all", "matrix", "ft-transformer", {**_TOKENS, **heads(256)}),
)
"""Every objective on the quick suite's data, with its own views: those that need tokens on a small transformer."""

_REAL: Mapping[str, Any] = {
    **one_optimizer(lr=1e-3),
    "evaluators.few-labels.per_class": (10, 2, 5, 25, 100),
    "optimization.batch_size": 128,
}
_TASKS: Mapping[str, Mapping[str, Any]] = {
    "vime": {},
    "denoising-autoencoder": {},
    "subtab": {},
    "vicreg": {},
    "scarf": {},
    "byol": {},
}


def _real(dataset: str, task: str, headline: str) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"real-{dataset}-{task}",
        summary=f"{task} on the table {dataset}, 1,000 steps of {_REAL['optimization.batch_size']}.",
        task=f"tabular/{task}",
        dataset=dataset,
        suites=("real",),
        backbone="mlp",
        evaluators=FEW_LABELS,
        headline=headline,
        steps=1000,
        overrides={**_REAL, **_TASKS[task]},
        references=("boosting",),
    )


REAL: tuple[BenchmarkSpec, ...] = (
    *(_real("adult", task, UNEQUAL) for task in _TASKS),
    *(_real("letter", task, "few-labels.accuracy@10") for task in _TASKS),
)
"""Half an hour of a CPU core."""


def _own(task: str, **options: Any) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"own-tabular-{task}",
        summary=f"{task} on the user's own table.",
        task=f"tabular/{task}",
        suites=("own",),
        backbone="mlp",
        overrides={
            **one_optimizer(lr=1e-3),
            "optimization.batch_size": 128,
            "gpu.optimization.batch_size": 512,
            **options,
        },
        references=("boosting",),
    )


OWN: tuple[BenchmarkSpec, ...] = (_own("vime"), _own("denoising-autoencoder"), _own("vicreg"), _own("subtab"))
"""What gained with few labels on most of six tables. The perceptron is the same on every device."""

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*QUICK, *MATRIX, *REAL, *OWN)
