"""Benchmarks of audio: synthetic sounds in minutes, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import EVALUATORS, one_optimizer

_QUICK: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    "optimization.batch_size": 64,
    "backbone.channels": 16,
    "backbone.embed_dim": 64,
    "backbone.mel.n_mels": 32,
    "backbone.mel.hop_seconds": 0.02,
}


def _quick(task: str, steps: int, **options: Any) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"synthetic-sounds-{task}",
        summary=f"{task} on 1,280 synthetic sounds, {steps} steps of {_QUICK['optimization.batch_size']}.",
        task=f"audio/{task}",
        dataset="synthetic-sounds",
        suites=("quick",),
        backbone="mel-cnn",
        evaluators=EVALUATORS,
        headline="linear.accuracy",
        steps=steps,
        overrides={**_QUICK, **options},
        references=("raw-mfcc",),
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("simclr", 150, **{"objective.hidden_dim": 256}),
    _quick("vicreg", 150, **{"objective.hidden_dim": 256, "objective.output_dim": 256}),
    _quick("segment-order", 150),
)
"""Two minutes on two CPU cores."""

BENCHMARKS = QUICK
