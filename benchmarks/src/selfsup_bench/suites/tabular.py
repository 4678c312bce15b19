"""Benchmarks of tables: those of scikit-learn in minutes, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import EVALUATORS, one_optimizer

_QUICK: Mapping[str, Any] = {
    **one_optimizer(lr=1e-3),
    "optimization.batch_size": 128,
}
_TOKENS: Mapping[str, Any] = {"backbone.dim": 32, "backbone.depth": 2, "backbone.heads": 4}


def _quick(dataset: str, task: str, steps: int, **options: Any) -> BenchmarkSpec:
    tokens = task == "masked-cells"
    return BenchmarkSpec(
        id=f"{dataset}-{task}",
        summary=f"{task} on the table {dataset}, {steps} steps of {_QUICK['optimization.batch_size']}.",
        task=f"tabular/{task}",
        dataset=dataset,
        suites=("quick",),
        backbone="ft-transformer" if tokens else "mlp",
        evaluators=EVALUATORS,
        headline="linear.accuracy",
        steps=steps,
        overrides={**_QUICK, **(_TOKENS if tokens else {}), **options},
        references=("boosting",),
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("digits-table", "scarf", 400),
    _quick("digits-table", "vime", 400),
    _quick("digits-table", "vicreg", 400, **{"objective.output_dim": 256}),
    _quick("breast-cancer", "scarf", 200),
    _quick("breast-cancer", "vime", 200),
)
"""A minute on two CPU cores."""

BENCHMARKS = QUICK
