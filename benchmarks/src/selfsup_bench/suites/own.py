"""What is tried on a user's own data, the most promising task of each modality first: short times leave out the last ones.

Steps, seeds and evaluators follow from the data and the time. Overrides that begin with ``gpu.`` hold on an accelerator alone,
in place of those without it (None drops one): there networks and inputs have their usual sizes. ``gpu.backbone`` is the id of
another backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import one_optimizer


def _own(task: str, backbone: str, overrides: Mapping[str, Any], *, references: tuple[str, ...] = ()) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"own-{task.replace('/', '-')}",
        summary=f"{task} on the user's own data.",
        task=task,
        suites=("own",),
        backbone=backbone,
        overrides=overrides,
        references=references,
    )


def _usual_on_gpus(options: Mapping[str, Any], *, batch_size: int) -> dict[str, Any]:
    """Options of small networks and inputs, which accelerators leave out."""
    gpu = {f"gpu.{key}": None for key in options}
    return {**options, **gpu, "gpu.optimization.batch_size": batch_size}


_SIMCLR: Mapping[str, Any] = {"objective.hidden_dim": 256}
_VICREG: Mapping[str, Any] = {"objective.hidden_dim": 512, "objective.output_dim": 512}

_SOUNDS: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    "optimization.batch_size": 64,
    **_usual_on_gpus(
        {"backbone.channels": 16, "backbone.embed_dim": 128, "backbone.mel.n_mels": 32, "backbone.mel.hop_seconds": 0.02},
        batch_size=256,
    ),
}
_VIDEOS: Mapping[str, Any] = {
    **one_optimizer(lr=2e-3),
    "optimization.batch_size": 32,
    **_usual_on_gpus({"backbone.width": 8, "backbone.stages": 3, "processor.frames": 8}, batch_size=64),
}
# Each word has a row of its own, which few steps reach: its rate is ten times that of networks.
_WORDS: Mapping[str, Any] = {
    "optimization.batch_size": 256,
    "supervised.optimization.lr": 2e-2,
    "supervised.optimization.schedule": "cosine",
    "scratch.lr": 2e-2,
    "processor.max_length": 64,
    "gpu.processor.max_length": None,
}
_SENTENCES: Mapping[str, Any] = {
    "optimization.batch_size": 32,
    "processor.max_length": 64,
    "gpu.processor.max_length": None,
    "gpu.optimization.batch_size": 128,
}
BENCHMARKS: tuple[BenchmarkSpec, ...] = (
    _own("audio/simclr", "mel-cnn", {**_SOUNDS, **_SIMCLR}, references=("raw-mfcc",)),
    _own("audio/vicreg", "mel-cnn", {**_SOUNDS, **_VICREG}, references=("raw-mfcc",)),
    _own("video/cvrl", "conv3d-small", {**_VIDEOS, **_SIMCLR}),
    _own("video/vicreg", "conv3d-small", {**_VIDEOS, **_VICREG}),
    _own("text/word2vec", "word-vectors", _WORDS),
    _own("text/tsdae", "text-encoder-small", _SENTENCES),
)
