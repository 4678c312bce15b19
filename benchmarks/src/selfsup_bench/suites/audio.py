"""Benchmarks of audio: synthetic sounds in minutes, spoken digits and noises over night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, FEW_LABELS, heads, of_views, one_optimizer

_STEPS = 250
_SMALL: Mapping[str, Any] = {
    "backbone.channels": 16,
    "backbone.embed_dim": 64,
    "backbone.mel.n_mels": 32,
    "backbone.mel.hop_seconds": 0.02,
}
_SOUNDS: Mapping[str, Any] = {
    **one_optimizer(lr=6e-3),
    **_SMALL,
    "optimization.batch_size": 64,
    # The best of 1e-3 and 4e-3.
    "scratch.lr": 4e-3,
    "scratch.batch_size": 30,
    **CURVE,
}
_VIEWS: Mapping[str, Any] = {"views.mixup": 0.0}
"""Each sound by itself: another one underneath hides how it changes in time."""
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {**_VIEWS, "objective.hidden_dim": 256, "objective.temperature": 0.5},
    "vicreg": {**_VIEWS, "objective.hidden_dim": 256, "objective.output_dim": 256},
}


def _quick(task: str, *suites: str) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"sound-trends-{task}",
        summary=f"{task} on 1,280 synthetic sounds, {_STEPS} steps of 64.",
        task=f"audio/{task}",
        dataset="sound-trends",
        suites=suites,
        backbone="mel-cnn",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_SOUNDS, **_OPTIONS[task]},
        references=("raw-mfcc",),
    )


QUICK: tuple[BenchmarkSpec, ...] = (
    _quick("simclr", "quick", "matrix"),
    BenchmarkSpec(
        id="sound-trends",
        summary=f"* on 1,280 synthetic sounds, {_STEPS} steps of 64.",
        task="audio/*",
        objectives="others",
        dataset="sound-trends",
        suites=("quick",),
        backbone="mel-cnn",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides=_SOUNDS,
        references=("raw-mfcc",),
    ),
)
"""Two minutes on two CPU cores."""

MATRIX: tuple[BenchmarkSpec, ...] = (
    # In so few steps it learns in some seeds and not in others.
    _quick("vicreg", "matrix"),
    BenchmarkSpec(
        id="matrix-audio",
        summary=f"* on 1,280 synthetic sounds, {_STEPS} steps of 64.",
        task="audio/*",
        objectives="all",
        dataset="sound-trends",
        suites=("matrix",),
        backbone="mel-cnn",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={**_SOUNDS, **of_views(_VIEWS), **heads(256)},
        references=("raw-mfcc",),
    ),
    BenchmarkSpec(
        id="matrix-audio-tokens",
        summary=f"* on 1,280 synthetic sounds, {_STEPS} steps of 64.",
        task="audio/*",
        objectives="all",
        dataset="sound-trends",
        suites=("matrix",),
        backbone="mel-vit",
        evaluators=FEW_LABELS,
        steps=_STEPS,
        overrides={
            **{key: value for key, value in _SOUNDS.items() if not key.startswith(("backbone.", "scratch."))},
            **one_optimizer(lr=1e-3),
            **heads(256),
        },
        references=("raw-mfcc",),
    ),
)
"""Every objective on the quick data set; what needs tokens on a transformer."""
_REAL_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {"objective.hidden_dim": 512},
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
}


def _real(dataset: str, task: str, backbone: str, steps: int, batch: int, curve: tuple[int, ...]) -> BenchmarkSpec:
    network = {"backbone.channels": 32, "backbone.embed_dim": 256} if backbone == "mel-cnn" else {}
    return BenchmarkSpec(
        id=f"real-{dataset}-{task}",
        summary=f"{task} on {dataset}, {steps} steps of {batch}.",
        task=f"audio/{task}",
        dataset=dataset,
        suites=("real",),
        backbone=backbone,
        evaluators=FEW_LABELS,
        steps=steps,
        overrides={
            **one_optimizer(lr=1e-3),
            **network,
            "optimization.batch_size": batch,
            "evaluators.few-labels.per_class": curve,
            **_REAL_OPTIONS.get(task, {}),
        },
        references=("raw-mfcc",),
    )


REAL: tuple[BenchmarkSpec, ...] = (
    # 2,000 spoken digits of four speakers to train, 1,000 of two others to test.
    *(
        _real("fsdd", task, backbone, 600, 64, (10, 2, 5, 25, 100))
        for task, backbone in (
            ("simclr", "mel-cnn"),
            ("vicreg", "mel-cnn"),
            ("byol-a", "mel-cnn"),
            ("cola", "mel-cnn"),
            ("apc", "gru"),
            ("cpc", "gru"),
        )
    ),
    # 320 noises of five seconds to train, 32 of each class.
    *(_real("esc10", task, "mel-cnn", 600, 32, (10, 2, 5, 25)) for task in ("simclr", "vicreg", "byol-a", "cola")),
)
"""On the shared data sets, an hour or two on two CPU cores."""


def _own(task: str, backbone: str) -> BenchmarkSpec:
    small: Mapping[str, Any] = {
        "backbone.channels": 16,
        "backbone.embed_dim": 128,
        "backbone.mel.n_mels": 32,
        "backbone.mel.hop_seconds": 0.02,
    }
    narrow = small if backbone == "mel-cnn" else {}
    return BenchmarkSpec(
        id=f"own-audio-{task}",
        summary=f"{task} on the user's own recordings.",
        task=f"audio/{task}",
        suites=("own",),
        backbone=backbone,
        overrides={
            **one_optimizer(lr=2e-3),
            **narrow,
            **{f"gpu.{key}": None for key in narrow},
            "optimization.batch_size": 64,
            "gpu.optimization.batch_size": 256,
            **_REAL_OPTIONS.get(task, {}),
        },
        references=("raw-mfcc",),
    )


OWN: tuple[BenchmarkSpec, ...] = (
    _own("simclr", "mel-cnn"),
    _own("vicreg", "mel-cnn"),
    # Of speech they learn more; on a network that reads frame by frame.
    _own("cpc", "gru"),
)
"""What is worth trying on own recordings, the likeliest first."""

BENCHMARKS = (*QUICK, *MATRIX, *REAL, *OWN)
