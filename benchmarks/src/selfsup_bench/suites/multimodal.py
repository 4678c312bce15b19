"""Benchmarks of several modalities at once: digits with captions in minutes, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import one_optimizer

_QUICK: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    "optimization.batch_size": 128,
    "backbone.joint_dim": 128,
    # A mirrored digit would lean the other way than its caption says.
    "views.parts.vision.flip_p": 0.0,
    "views.parts.vision.global_scale": [0.6, 1.0],
    "backbone.towers.vision.options.width": 8,
    "backbone.towers.text.backbone": "word-vectors",
    "evaluators.missing-part.probe": "knn",
    "evaluators.zero-shot.templates": ["a thin {}", "a plain {}", "a bold {}"],
}


def _quick(task: str, steps: int, **options: Any) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"captioned-digits-{task}",
        summary=f"{task} on 2,000 digits with captions, {steps} steps of {_QUICK['optimization.batch_size']}.",
        task=f"multimodal/{task}",
        dataset="captioned-digits",
        suites=("quick",),
        backbone="towers",
        evaluators=("knn", "linear", "cross-modal-retrieval", "zero-shot", "missing-part"),
        headline="linear.accuracy",
        steps=steps,
        overrides={**_QUICK, **options},
        references=("raw-vision", "raw-text"),
    )


QUICK: tuple[BenchmarkSpec, ...] = (_quick("clip", 120),)
"""Two minutes on two CPU cores."""

BENCHMARKS = QUICK
