"""Benchmarks of video: moving shapes in minutes, fights and lungs over night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, heads, of_views, one_optimizer

SINGLE = "supervised-single-frame"
"""The same network on the middle frame alone, with all labels: no motion can be seen there."""

_STEPS = 300
_SHAPES: Mapping[str, Any] = {
    **one_optimizer(lr=1e-2),
    "backbone.width": 8,
    "backbone.stages": 3,
    "optimization.batch_size": 64,
    # Every second of the sixteen frames.
    "processor.frames": 8,
    "processor.stride": 2,
    # The best of 1e-3, 4e-3 and 1e-2; with so few videos it has converged after a hundred steps.
    "scratch.lr": 1e-2,
    "scratch.min_steps": 100,
    "scratch.batch_size": 30,
    **CURVE,
    # Which ten of a class have labels matters much here.
    "evaluators.few-labels.draws": 20,
}
_VIEWS: Mapping[str, Any] = {
    # Nearly whole frames: a shape that is cut off does nothing that can be told.
    "views.global_scale": [0.6, 1.0],
    "views.jitter_strength": 0.5,
    # They are grey.
    "views.saturation": 0.0,
    "views.hue": 0.0,
    "views.grey_p": 0.0,
}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {**_VIEWS, "objective.hidden_dim": 256, "objective.temperature": 0.5},
    "vicreg": {**_VIEWS, "objective.hidden_dim": 256, "objective.output_dim": 256},
}


def _quick(task: str, *suites: str) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"moving-shapes-{task}",
        summary=f"{task} on 2,560 videos of moving shapes, {_STEPS} steps of 64.",
        task=f"video/{task}",
        dataset="moving-shapes",
        suites=suites,
        backbone="conv3d-small",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_SHAPES, **_OPTIONS[task]},
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("simclr", "quick", "matrix"),
    BenchmarkSpec(
        id="moving-shapes",
        summary=f"* on 2,560 videos of moving shapes, {_STEPS} steps of 64.",
        task="video/*",
        objectives="others",
        dataset="moving-shapes",
        suites=("quick",),
        backbone="conv3d-small",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides=_SHAPES,
    ),
)
"""Three minutes on two CPU cores."""

MATRIX: tuple[BenchmarkSpec, ...] = (
    # In so few steps it learns in some seeds and not in others.
    _quick("vicreg", "matrix"),
    BenchmarkSpec(
        id="matrix-video",
        summary=f"* on 2,560 videos of moving shapes, {_STEPS} steps of 64.",
        task="video/*",
        objectives="all",
        dataset="moving-shapes",
        suites=("matrix",),
        backbone="conv3d-small",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_SHAPES, **of_views(_VIEWS), **heads(256)},
    ),
    BenchmarkSpec(
        id="matrix-video-tokens",
        summary=f"* on 2,560 videos of moving shapes, {_STEPS} steps of 64.",
        task="video/*",
        objectives="all",
        dataset="moving-shapes",
        suites=("matrix",),
        backbone="video-vit-small",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={
            **{key: value for key, value in _SHAPES.items() if not key.startswith(("backbone.", "scratch."))},
            **one_optimizer(lr=1e-3),
            "backbone.embed_dim": 96,
            "backbone.depth": 2,
            **heads(256),
        },
    ),
)
"""Every objective on the quick data set; what needs tokens on a transformer."""

_REAL: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    "backbone.width": 16,
    "optimization.batch_size": 32,
    "processor.image_size": 64,
    f"{SINGLE}.backbone.width": 16,
}
_REAL_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "cvrl": {"objective.hidden_dim": 256},
    "simclr": {"objective.hidden_dim": 256},
    "vicreg": {"objective.hidden_dim": 256, "objective.output_dim": 256},
}


def _real(dataset: str, task: str, steps: int, metric: str, curve: tuple[int, ...]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"{dataset.replace('_', '-')}-{task}",
        summary=f"{task} on {dataset}, {steps} steps of {_REAL['optimization.batch_size']}.",
        task=f"video/{task}",
        dataset=dataset,
        suites=("real",),
        backbone="conv3d-small",
        evaluators=FEW_LABELS,
        headline=f"few-labels.{metric}@10",
        steps=steps,
        overrides={**_REAL, "evaluators.few-labels.per_class": curve, **_REAL_OPTIONS.get(task, {})},
        references=(SINGLE,),
    )


REAL: tuple[BenchmarkSpec, ...] = (
    # 240 clips of surveillance cameras, half of them of fights.
    *(
        _real("surveillance_fight", task, 400, "accuracy", (10, 2, 5, 25, 50))
        for task in ("cvrl", "vicreg", "playback-speed", "frame-order")
    ),
    # 83 ultrasound clips of lungs; the smallest of the three classes has 17.
    *(
        _real("lung_ultrasound", task, 300, "balanced_accuracy", (10, 2, 5))
        for task in ("cvrl", "vicreg", "playback-speed", "frame-order")
    ),
)
"""On the shared data sets, an hour or two on two CPU cores."""


def _own(task: str) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"own-video-{task}",
        summary=f"{task} on the user's own videos.",
        task=f"video/{task}",
        suites=("own",),
        backbone="conv3d-small",
        overrides={
            **one_optimizer(lr=2e-3),
            "optimization.batch_size": 32,
            "processor.frames": 8,
            "processor.image_size": 64,
            "backbone.width": 16,
            "gpu.processor.frames": None,
            "gpu.processor.image_size": None,
            "gpu.backbone.width": None,
            "gpu.optimization.batch_size": 128,
            **_REAL_OPTIONS.get(task, {}),
        },
    )


OWN: tuple[BenchmarkSpec, ...] = (_own("cvrl"), _own("vicreg"), _own("playback-speed"))
"""What is worth trying on own videos, the likeliest first."""

BENCHMARKS = (*QUICK, *MATRIX, *REAL, *OWN)
