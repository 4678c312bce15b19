"""Benchmarks of text: the pages of Python's reference in minutes, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import EVALUATORS, one_optimizer

_QUICK: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    "optimization.batch_size": 32,
    "processor.vocab_size": 4000,
    "processor.max_length": 64,
}


def _quick(task: str, steps: int, **options: Any) -> BenchmarkSpec:
    settings = {**_QUICK, **options}
    return BenchmarkSpec(
        id=f"pydoc-topics-{task}",
        summary=f"{task} on paragraphs of Python's reference, {steps} steps of {settings['optimization.batch_size']}.",
        task=f"text/{task}",
        dataset="pydoc-topics",
        suites=("quick",),
        backbone="text-encoder-small",
        evaluators=EVALUATORS,
        headline="linear.accuracy",
        steps=steps,
        overrides=settings,
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("mlm", 150, **{"task.rate": 0.3}),
    _quick("simcse", 150),
    _quick("vicreg", 150, **{"objective.hidden_dim": 256, "objective.output_dim": 256}),
)
"""Two minutes on two CPU cores."""

BENCHMARKS = QUICK
