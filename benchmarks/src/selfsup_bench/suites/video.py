"""Benchmarks of video: moving shapes in minutes, fights and lungs over night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, Setting, heads, of_views, one_optimizer

SINGLE = "supervised-single-frame"
"""The same network on the middle frame alone, with all labels: no motion can be seen there."""

_SHAPES = Setting(
    modality="video",
    suites=("quick",),
    prefix="moving-shapes",
    rows="2,560 videos of moving shapes",
    dataset="moving-shapes",
    backbone="conv3d-small",
    steps=300,
    overrides={
        **one_optimizer(lr=1e-2),
        "optimization.batch_size": 64,
        # Every second of the sixteen frames.
        "processor.frames": 8,
        "processor.stride": 2,
        **CURVE,
        # Which ten of a class have labels matters much here.
        "evaluators.few-labels.draws": 20,
    },
)
_CONV: Mapping[str, Any] = {
    "backbone.width": 8,
    "backbone.stages": 3,
    # The best of 1e-3, 4e-3 and 1e-2; with so few videos it has converged after a hundred steps.
    "scratch.lr": 1e-2,
    "scratch.min_steps": 100,
    "scratch.batch_size": 30,
}
_VIEWS: Mapping[str, Any] = {
    # Crops keep nearly the whole frame: the motion of a shape that is cut off cannot be seen.
    "views.global_scale": [0.6, 1.0],
    "views.jitter_strength": 0.5,
    # They are grey.
    "views.saturation": 0.0,
    "views.hue": 0.0,
    "views.grey_p": 0.0,
}
_QUICK = _SHAPES.on("conv3d-small", _CONV)
_SIMCLR: Mapping[str, Any] = {**_VIEWS, "objective.hidden_dim": 256, "objective.temperature": 0.5}
QUICK: tuple[BenchmarkSpec, ...] = (
    replace(_QUICK, suites=("quick", "matrix")).line("simclr", _SIMCLR),
    _QUICK.template("others"),
)
_MATRIX = replace(_SHAPES, suites=("matrix",))
_VIT: Mapping[str, Any] = {"backbone.embed_dim": 96, "backbone.depth": 2}
MATRIX: tuple[BenchmarkSpec, ...] = (
    replace(_MATRIX, prefix="matrix-video").template("all", {**_CONV, **of_views(_VIEWS), **heads(256)}),
    replace(_MATRIX, prefix="matrix-video-tokens", backbone="video-vit-small").template(
        "all", {**one_optimizer(lr=1e-3), **_VIT, **heads(256)}
    ),
)
"""Every objective on the quick data set; what needs tokens on a transformer."""

_HEADS: Mapping[str, Mapping[str, Any]] = {
    "cvrl": {"objective.hidden_dim": 256},
    "vicreg": {"objective.hidden_dim": 256, "objective.output_dim": 256},
}
_REAL_TASKS = ("cvrl", "vicreg", "playback-speed", "frame-order")


def _real(dataset: str, steps: int, metric: str, curve: tuple[int, ...]) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="video",
        suites=("real",),
        prefix=f"real-{dataset}",
        rows=dataset,
        dataset=dataset,
        backbone="conv3d-small",
        headline=f"few-labels.{metric}@10",
        steps=steps,
        overrides={
            **one_optimizer(lr=2e-3),
            "backbone.width": 16,
            "optimization.batch_size": 32,
            "processor.image_size": 64,
            f"{SINGLE}.backbone.width": 16,
            "evaluators.few-labels.per_class": curve,
        },
        references=(SINGLE,),
    )
    return [shared.line(task, _HEADS.get(task)) for task in _REAL_TASKS]


REAL: tuple[BenchmarkSpec, ...] = (
    # 240 clips of surveillance cameras, half of them of fights.
    *_real("surveillance_fight", 400, "accuracy", (10, 2, 5, 25, 50)),
    # 83 ultrasound clips of lungs; the smallest of the three classes has 17.
    *_real("lung_ultrasound", 300, "balanced_accuracy", (10, 2, 5)),
)

_OWN = Setting(
    modality="video",
    suites=("own",),
    prefix="own-video",
    rows="the user's own videos",
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
    },
)
OWN = tuple(_OWN.line(task, _HEADS.get(task)) for task in ("cvrl", "vicreg", "playback-speed"))
"""What is worth trying on own videos, the likeliest first."""


_VIDEO_TASKS = {
    "conv3d-small": ["frame-order", "clip-order", "arrow-of-time", "playback-speed", "cvrl", "simclr", "vicreg", "byol"],
    "video-vit-small": ["videomae", "vjepa"],
}
_VIDEO_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "conv3d-small": {"backbone.width": 16},
    "video-vit-small": {"backbone.embed_dim": 96, "backbone.depth": 4},
}
_VIDEO_OWN: Mapping[str, Mapping[str, Any]] = {
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
    # The papers' decoder of four layers and predictor of twelve are for encoders of twelve and more.
    "videomae": {"task.decoder_depth": 2},
    # At 1e-3 its targets lose half of their spread within 200 steps; the authors' rate is 5e-5 for a batch of 256.
    "vjepa": {"task.predictor_depth": 2, "optimization.lr": 2e-4},
}


_TASKS = Setting(
    modality="video",
    suites=("tasks",),
    prefix="tasks-moving-digits",
    rows="1,600 videos of moving digits",
    dataset="moving-digits",
    backbone="conv3d-small",
    steps=200,
    evaluators=(*FEW_LABELS, "retrieval"),
    headline="few-labels.accuracy@20",
    overrides={**one_optimizer(lr=1e-3), "optimization.batch_size": 32, f"{SINGLE}.backbone.width": 16},
    references=(SINGLE,),
)
_MOVING = _TASKS.on(
    "conv3d-small",
    {
        # A digit moves by three to six pixels from one of these frames to the next.
        **one_optimizer(lr=2e-3),
        "optimization.batch_size": 64,
        "processor.frames": 8,
        "processor.stride": 2,
        "evaluators.few-labels.per_class": (20, 5),
        # Mirrored, a motion is another one.
        "supervised.views.flip_p": 0.0,
        "scratch.augment": False,
        f"{SINGLE}.backbone.stages": 3,
    },
)
_MOVING_OWN: Mapping[str, Mapping[str, Any]] = {
    **_VIDEO_OWN,
    **{task: {**_VIDEO_OWN.get(task, {}), "views.flip_p": 0.0} for task in ("cvrl", "simclr", "vicreg", "byol")},
    # With the paper's four paces, two of the eight frames would be left to see.
    "playback-speed": {"transformation.paces": (1, 2)},
}


def _clips(dataset: str, headline: str, curve: tuple[int, ...]) -> list[BenchmarkSpec]:
    changed = replace(_TASKS, prefix=f"tasks-{dataset}", rows=dataset, dataset=dataset, steps=100, headline=headline)
    small = {"processor.image_size": 64, "evaluators.few-labels.per_class": curve}
    return changed.on("conv3d-small", small).lines(_VIDEO_TASKS, _VIDEO_NETWORKS, _VIDEO_OWN)


TASKS: tuple[BenchmarkSpec, ...] = (
    # 32 pixels are too few for a fourth stage.
    *_MOVING.lines(
        _VIDEO_TASKS, {**_VIDEO_NETWORKS, "conv3d-small": {"backbone.width": 16, "backbone.stages": 3}}, _MOVING_OWN
    ),
    *_clips("lung_ultrasound", "few-labels.macro_f1@5", (5,)),
    *_clips("surveillance_fight", "few-labels.accuracy@20", (20, 5)),
)
"""Every task at one budget that a CPU can do: how much does each learn, on its own network?"""

BENCHMARKS = (*QUICK, *MATRIX, *REAL, *OWN, *TASKS)
