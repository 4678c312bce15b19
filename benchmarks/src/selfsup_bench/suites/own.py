"""What is tried on a user's own data. Steps, seeds and evaluators follow from the data and the time.

Overrides that begin with ``gpu.`` hold on an accelerator alone, in place of those without it (None drops one): there
networks and inputs have their usual sizes. ``gpu.backbone`` is the id of another backbone.
"""

from __future__ import annotations

from typing import Any

from selfsup.specs import BenchmarkSpec
from selfsup_bench.suites.shared import one_optimizer

_AUDIO: dict[str, Any] = {
    **one_optimizer(lr=2e-3),
    "optimization.batch_size": 64,
    "backbone.channels": 16,
    "backbone.embed_dim": 128,
    "backbone.mel.n_mels": 32,
    "backbone.mel.hop_seconds": 0.02,
    "gpu.backbone.channels": None,
    "gpu.backbone.embed_dim": None,
    "gpu.backbone.mel.n_mels": None,
    "gpu.backbone.mel.hop_seconds": None,
    "gpu.optimization.batch_size": 256,
}
_HEADS: dict[str, dict[str, Any]] = {
    "simclr": {"objective.hidden_dim": 256},
    "vicreg": {"objective.hidden_dim": 512, "objective.output_dim": 512},
}


def _own(task: str, overrides: dict[str, Any], *, backbone: str, references: tuple[str, ...] = ()) -> BenchmarkSpec:
    return BenchmarkSpec(
        id=f"own-{task.replace('/', '-')}",
        summary=f"{task} on the user's own data.",
        task=task,
        suites=("own",),
        backbone=backbone,
        overrides={**overrides, **_HEADS.get(task.partition("/")[2], {})},
        references=references,
    )


BENCHMARKS: tuple[BenchmarkSpec, ...] = (
    _own("audio/simclr", _AUDIO, backbone="mel-cnn", references=("raw-mfcc",)),
    _own("audio/vicreg", _AUDIO, backbone="mel-cnn", references=("raw-mfcc",)),
)
