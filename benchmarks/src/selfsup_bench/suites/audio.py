"""Benchmarks of audio: synthetic sounds in minutes, spoken digits and noises over night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfsup.registry import BenchmarkSpec
from selfsup_bench.suites.shared import CURVE, Setting, heads, of_views, one_optimizer

_COARSE: Mapping[str, Any] = {"backbone.mel.n_mels": 32, "backbone.mel.hop_seconds": 0.02}
_SMALL: Mapping[str, Any] = {
    "backbone.channels": 16,
    "backbone.embed_dim": 64,
    **_COARSE,
    # The best of 1e-3 and 4e-3.
    "scratch.lr": 4e-3,
    "scratch.batch_size": 30,
}
_VIEWS: Mapping[str, Any] = {"views.mixup": 0.0}
"""No mixing of sounds: a second sound hides how the first one changes over time."""
_TRENDS = Setting(
    modality="audio",
    suites=("quick",),
    prefix="sound-trends",
    rows="1,280 synthetic sounds",
    dataset="sound-trends",
    backbone="mel-cnn",
    steps=250,
    overrides={**one_optimizer(lr=6e-3), "optimization.batch_size": 64, **CURVE},
    references=("raw-mfcc",),
)
_QUICK = _TRENDS.on("mel-cnn", _SMALL)
_MATRIX = replace(_TRENDS, suites=("matrix",))
_SIMCLR: Mapping[str, Any] = {**_VIEWS, "objective.hidden_dim": 256, "objective.temperature": 0.5}
QUICK: tuple[BenchmarkSpec, ...] = (
    replace(_QUICK, suites=("quick", "matrix")).line("simclr", _SIMCLR),
    _QUICK.template("others"),
)
MATRIX: tuple[BenchmarkSpec, ...] = (
    replace(_MATRIX, prefix="matrix-audio").template("all", {**_SMALL, **of_views(_VIEWS), **heads(256)}),
    replace(_MATRIX, prefix="matrix-audio-tokens", backbone="mel-vit").template(
        "all", {**one_optimizer(lr=1e-3), **heads(256)}
    ),
)
"""Every objective on the quick data set; what needs tokens on a transformer."""

_HEADS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {"objective.hidden_dim": 512},
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
}
_MEL_CNN: Mapping[str, Any] = {"backbone.channels": 32, "backbone.embed_dim": 256}


def _real(dataset: str, tasks: Mapping[str, tuple[str, ...]], batch: int, curve: tuple[int, ...]) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="audio",
        suites=("real",),
        prefix=f"real-{dataset}",
        rows=dataset,
        dataset=dataset,
        backbone="mel-cnn",
        steps=600,
        overrides={
            **one_optimizer(lr=1e-3),
            "optimization.batch_size": batch,
            "evaluators.few-labels.per_class": curve,
        },
        references=("raw-mfcc",),
    )
    return shared.lines(tasks, {"mel-cnn": _MEL_CNN}, _HEADS)


_ON_CNN = ("simclr", "vicreg", "byol-a", "cola")
REAL: tuple[BenchmarkSpec, ...] = (
    # 2,000 spoken digits of four speakers to train, 1,000 of two others to test.
    *_real("fsdd", {"mel-cnn": _ON_CNN, "gru": ("apc", "cpc")}, 64, (10, 2, 5, 25, 100)),
    # 320 noises of five seconds to train, 32 of each class.
    *_real("esc10", {"mel-cnn": _ON_CNN}, 32, (10, 2, 5, 25)),
)

_NARROW: Mapping[str, Any] = {"backbone.channels": 16, "backbone.embed_dim": 128, **_COARSE}
_OWN = Setting(
    modality="audio",
    suites=("own",),
    prefix="own-audio",
    rows="the user's own recordings",
    backbone="gru",
    overrides={**one_optimizer(lr=2e-3), "optimization.batch_size": 64, "gpu.optimization.batch_size": 256},
    references=("raw-mfcc",),
)
_ON_MEL_CNN = _OWN.on("mel-cnn", {**_NARROW, **{f"gpu.{key}": None for key in _NARROW}})
OWN: tuple[BenchmarkSpec, ...] = (
    *(_ON_MEL_CNN.line(task, _HEADS[task]) for task in ("simclr", "vicreg")),
    # Of speech they learn more; on a network that reads frame by frame.
    _OWN.line("cpc"),
)
"""What is worth trying on own recordings, the likeliest first."""


def _sounds(dataset: str, steps: int, batch: int) -> list[BenchmarkSpec]:
    shared = Setting(
        modality="audio",
        suites=("tasks",),
        prefix=f"tasks-{dataset}",
        rows=dataset,
        dataset=dataset,
        backbone="mel-cnn",
        steps=steps,
        headline="few-labels.accuracy@20",
        overrides={
            **one_optimizer(lr=1e-3),
            "optimization.batch_size": batch,
            "evaluators.few-labels.per_class": (20, 5),
        },
        references=("raw-mfcc",),
    )
    tasks = {
        "mel-cnn": ("segment-order", "byol-a", "cola", "simclr", "vicreg", "barlow-twins"),
        "gru": ("apc", "cpc"),
        "mel-transformer": ("mockingjay", "tera"),
        "mel-vit": ("masked-spectrogram",),
        "wave-transformer-small": ("wav2vec2", "hubert", "data2vec"),
    }
    # HuBERT's 500 clusters are for 960 hours of speech.
    own = {**dict.fromkeys(("vicreg", "barlow-twins"), _HEADS["vicreg"]), "hubert": {"task.n_latent_clusters": 100}}
    return shared.lines(tasks, {"mel-cnn": _MEL_CNN}, own)


# Spoken digits, whose test speakers are in no training row; sounds of five seconds, 32 of each class to train.
TASKS: tuple[BenchmarkSpec, ...] = (*_sounds("fsdd", 200, 64), *_sounds("esc10", 100, 32))
"""Every task at one budget that a CPU can do: how much does each learn, on its own network?"""

BENCHMARKS = (*QUICK, *MATRIX, *REAL, *OWN, *TASKS)
