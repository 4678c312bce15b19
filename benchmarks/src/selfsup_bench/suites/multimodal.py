"""Benchmarks of several modalities at once: digits with captions in minutes, sets of ``SELFSUP_DATA`` over night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, UNEQUAL, Setting, heads, one_optimizer

PARTS = ("cross-modal-retrieval", "zero-shot", "missing-part")
_DIGITS = Setting(
    modality="multimodal",
    suites=("quick",),
    prefix="captioned-digits",
    rows="4,000 digits with captions",
    dataset="captioned-digits",
    backbone="towers",
    steps=800,
    overrides={
        **one_optimizer(lr=4e-3),
        **CURVE,
        "optimization.batch_size": 128,
        "processor.options.vision.image_size": 14,
        # A mirrored digit would lean the other way than its caption says.
        "views.parts.vision.flip_p": 0.0,
        "supervised.views.parts.vision.flip_p": 0.0,
        "scratch.lr": 4e-3,
    },
    references=("raw-vision", "raw-text"),
)
_TOWERS: Mapping[str, Any] = {
    "backbone.joint_dim": 128,
    "backbone.towers.vision.options.width": 8,
    "backbone.towers.text.backbone": "word-vectors",
}
_EVALUATORS: Mapping[str, Any] = {
    "evaluators.missing-part.probe": "knn",
    "evaluators.zero-shot.templates": ("a thin {}", "a plain {}", "a bold {}"),
}
_QUICK = _DIGITS.on("towers", {**_TOWERS, "views.parts.vision.global_scale": (0.6, 1.0)})
QUICK: tuple[BenchmarkSpec, ...] = (
    replace(_QUICK, evaluators=(*FEW_LABELS, *PARTS)).line("clip", _EVALUATORS),
    _QUICK.template("others"),
)

_FUSION: Mapping[str, Any] = {
    "backbone.dim": 64,
    "backbone.depth": 2,
    "backbone.heads": 2,
    "backbone.tokenizers.vision.options.patch_size": 2,
}
_MATRIX = replace(_DIGITS, suites=("matrix",), steps=300)
MATRIX: tuple[BenchmarkSpec, ...] = (
    replace(_MATRIX, prefix="matrix-multimodal").template("all", {**_TOWERS, **heads(256)}),
    replace(_MATRIX, prefix="matrix-multimodal-tokens", backbone="fusion").template("all", {**_FUSION, **heads(256)}),
)
"""Every objective on the quick suite's data, with its own views; those that need tokens on a small fused transformer."""

_WIDE: Mapping[str, Any] = {"objective.hidden_dim": 512, "objective.output_dim": 512}
_ACROSS: Mapping[str, Mapping[str, Any]] = {"clip": {}, "siglip": {}, "vicreg": _WIDE}


def _real(dataset: str, steps: int, headline: str) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="multimodal",
        suites=("real",),
        prefix=f"real-{dataset}",
        rows=f"{dataset} (32x32)",
        dataset=dataset,
        backbone="towers",
        evaluators=(*FEW_LABELS, "cross-modal-retrieval"),
        headline=headline,
        steps=steps,
        overrides={
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
        },
        references=("raw-vision", "raw-text"),
    )
    return [shared.line(task, options) for task, options in _ACROSS.items()]


REAL: tuple[BenchmarkSpec, ...] = (
    *_real("fashion_products", 600, "few-labels.accuracy@10"),
    *_real("emoji_google", 400, UNEQUAL),
)

_OWN = Setting(
    modality="multimodal",
    suites=("own",),
    prefix="own-multimodal",
    rows="the user's own pairs",
    backbone="towers",
    overrides={
        **one_optimizer(lr=1e-3),
        "optimization.batch_size": 128,
        "scratch.lr": 2e-3,
        "gpu.optimization.batch_size": 512,
        "gpu.scratch.lr": 1e-3,
    },
)
OWN = tuple(_OWN.line(task, options) for task, options in _ACROSS.items())
"""The parts of a row compared with each other. Which there are is known only from the data: the towers are the usual ones."""


_PAIRS = Setting(
    modality="multimodal",
    suites=("tasks",),
    prefix="tasks-fashion_products",
    rows="fashion_products (64x64)",
    dataset="fashion_products",
    backbone="towers",
    steps=600,
    evaluators=(*FEW_LABELS, "cross-modal-retrieval", "zero-shot", "missing-part"),
    overrides={
        **one_optimizer(lr=1e-3),
        "optimization.batch_size": 256,
        "processor.parts": ("vision", "text"),
        "processor.options.vision.image_size": 64,
        "processor.options.text.max_length": 24,
        "processor.options.text.vocab_size": 4000,
        "evaluators.missing-part.probe": "knn",
    },
    references=("raw-vision", "raw-text"),
)
TASKS = tuple(_PAIRS.lines({"towers": ("clip", "siglip"), "fusion": ("mae",)}, {}, {}))
"""Retrieval and zero-shot of photographs and titles. For an accelerator."""

BENCHMARKS: tuple[BenchmarkSpec, ...] = (*QUICK, *MATRIX, *REAL, *OWN, *TASKS)
