"""Benchmarks of video: moving digits in minutes, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import EVALUATORS, one_optimizer

SINGLE = "supervised-single-frame"
"""The same network on the middle frame alone, with all labels: no motion can be seen there."""

_NETWORK: Mapping[str, Any] = {"backbone.width": 8, "backbone.stages": 3}
_QUICK: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    **_NETWORK,
    **{f"{SINGLE}.{key}": value for key, value in _NETWORK.items()},
    "optimization.batch_size": 64,
    # Every second of the sixteen frames: a digit moves by three to six pixels from one to the next.
    "processor.frames": 8,
    "processor.stride": 2,
    # A mirrored motion is another one.
    "supervised.views.flip_p": 0.0,
}


def _quick(task: str, steps: int, **options: Any) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"moving-digits-{task}",
        summary=f"{task} on 1,600 videos of moving digits, {steps} steps of {_QUICK['optimization.batch_size']}.",
        task=f"video/{task}",
        dataset="moving-digits",
        suites=("quick",),
        backbone="conv3d-small",
        evaluators=EVALUATORS,
        headline="linear.accuracy",
        steps=steps,
        overrides={**_QUICK, **options},
        references=(SINGLE,),
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("cvrl", 150, **{"views.flip_p": 0.0, "objective.hidden_dim": 256}),
    _quick("vicreg", 150, **{"views.flip_p": 0.0, "objective.hidden_dim": 256, "objective.output_dim": 256}),
    # With the paper's four paces, two of the eight frames would be left to see.
    _quick("playback-speed", 150, **{"transformation.paces": [1, 2]}),
)
"""Two minutes on two CPU cores."""

BENCHMARKS = QUICK
