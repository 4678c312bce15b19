"""Benchmarks of several modalities at once: digits with captions in minutes, sets of ``SELFSUP_DATA`` over night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, UNEQUAL, heads, one_optimizer

PARTS = ("cross-modal-retrieval", "zero-shot", "missing-part")
_QUICK: Mapping[str, Any] = {
    **one_optimizer(lr=4e-3),
    **CURVE,
    "optimization.batch_size": 128,
    "processor.options.vision.image_size": 14,
    # A mirrored digit would lean the other way than its caption says.
    "views.parts.vision.flip_p": 0.0,
    "supervised.views.parts.vision.flip_p": 0.0,
    "scratch.lr": 4e-3,
}
_TOWERS: Mapping[str, Any] = {
    "backbone.joint_dim": 128,
    "backbone.towers.vision.options.width": 8,
    "backbone.towers.text.backbone": "word-vectors",
}
_CROPS: Mapping[str, Any] = {"views.parts.vision.global_scale": (0.6, 1.0)}
_EVALUATORS: Mapping[str, Any] = {
    "evaluators.missing-part.probe": "knn",
    "evaluators.zero-shot.templates": ("a thin {}", "a plain {}", "a bold {}"),
}


def _quick(task: str, steps: int, options: Mapping[str, Any]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"captioned-digits-{task}",
        summary=f"{task} on 4,000 digits with captions, {steps} steps of {_QUICK['optimization.batch_size']}.",
        task=f"multimodal/{task}",
        dataset="captioned-digits",
        suites=("quick",),
        backbone="towers",
        evaluators=(*FEW_LABELS, *PARTS),
        steps=steps,
        overrides={**_QUICK, **_TOWERS, **_CROPS, **_EVALUATORS, **options},
        references=("raw-vision", "raw-text"),
    )


def _template(id: str, objectives: str, suite: str, backbone: str, options: Mapping[str, Any], steps: int) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=id,
        summary=f"* on 4,000 digits with captions, {steps} steps of {_QUICK['optimization.batch_size']}.",
        task="multimodal/*",
        dataset="captioned-digits",
        suites=(suite,),
        objectives="all" if objectives == "all" else "others",
        backbone=backbone,
        evaluators=FEW_LABELS,
        steps=steps,
        overrides={**_QUICK, **options},
        references=("raw-vision", "raw-text"),
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("clip", 800, {}),
    _template("captioned-digits", "others", "quick", "towers", {**_TOWERS, **_CROPS}, 800),
)
"""Three minutes of a CPU core."""

_FUSION: Mapping[str, Any] = {
    "backbone.dim": 64,
    "backbone.depth": 2,
    "backbone.heads": 2,
    "backbone.tokenizers.vision.options.patch_size": 2,
}
MATRIX: tuple[BenchmarkSpec, ...] = (
    _template("captioned-digits-towers", "all", "matrix", "towers", {**_TOWERS, **heads(256)}, 300),
    _template("captioned-digits-fusion", "all", "matrix", "fusion", {**_FUSION, **heads(256)}, 300),
)
"""Every objective on the quick suite's data, with its own views: those that need tokens on a small fused transformer."""

_REAL: Mapping[str, Any] = {
    **one_optimizer(lr=1e-3),
    "evaluators.few-labels.per_class": (10, 1, 5, 25),
    "optimization.batch_size": 128,
    "processor.parts": ("vision", "text"),
    "processor.options.vision.image_size": 32,
    "processor.options.text.max_length": 24,
    "backbone.towers.vision.options.width": 16,
    "backbone.towers.text.backbone": "word-vectors",
    "scratch.lr": 2e-3,
    "scratch.min_steps": 400,
}


def _real(dataset: str, task: str, steps: int, headline: str, options: Mapping[str, Any]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"real-{dataset}-{task}",
        summary=f"{task} on {dataset} (32x32), {steps} steps of {_REAL['optimization.batch_size']}.",
        task=f"multimodal/{task}",
        dataset=dataset,
        suites=("real",),
        backbone="towers",
        evaluators=(*FEW_LABELS, "cross-modal-retrieval"),
        headline=headline,
        steps=steps,
        overrides={**_REAL, **options},
        references=("raw-vision", "raw-text"),
    )


_WIDE: Mapping[str, Any] = {"objective.hidden_dim": 512, "objective.output_dim": 512}
_ACROSS: Mapping[str, Mapping[str, Any]] = {"clip": {}, "siglip": {}, "vicreg": _WIDE}
REAL: tuple[BenchmarkSpec, ...] = (
    *(_real("fashion_products", task, 600, "few-labels.accuracy@10", options) for task, options in _ACROSS.items()),
    *(_real("emoji_google", task, 400, UNEQUAL, options) for task, options in _ACROSS.items()),
)
"""About two hours of a CPU core."""


def _own(task: str, options: Mapping[str, Any], gpu: Mapping[str, Any]) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"own-multimodal-{task}",
        summary=f"{task} on the user's own pairs.",
        task=f"multimodal/{task}",
        suites=("own",),
        backbone="towers",
        overrides={
            **one_optimizer(lr=1e-3),
            "optimization.batch_size": 128,
            "scratch.lr": 2e-3,
            "gpu.optimization.batch_size": 512,
            "gpu.scratch.lr": 1e-3,
            **options,
            **{f"gpu.{key}": value for key, value in gpu.items()},
        },
    )


OWN: tuple[BenchmarkSpec, ...] = (_own("clip", {}, {}), _own("siglip", {}, {}), _own("vicreg", _WIDE, {}))
"""The parts of a row compared with each other. Which there are is known only from the data: the towers are the usual ones."""

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*QUICK, *MATRIX, *REAL, *OWN)
