"""Learning is tested by learning: in seconds, pretraining beats the same network's random initialisation by a margin.

Images, texts and tables are real; sounds and videos are synthesised. Texts, sounds and videos are measured with 10 labels a
class, as in the quick suite, on a cut of its budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import selfsup

pytestmark = pytest.mark.slow

_NETWORK = ("backbone", "processor")


@dataclass(frozen=True)
class Case:
    """A short pretraining and how it is measured."""

    task: str
    data: str
    backbone: str
    steps: int
    batch_size: int
    evaluator: str = "knn"
    margin: float = 0.03
    overrides: Mapping[str, Any] = field(default_factory=dict)


SMALL_MEL = {
    "backbone.channels": 16,
    "backbone.embed_dim": 64,
    "backbone.mel.n_mels": 32,
    "backbone.mel.hop_seconds": 0.02,
}
SMALL_VIDEO = {"backbone.width": 8, "backbone.stages": 3, "processor.frames": 8, "processor.stride": 2}
CASES = [
    Case(
        "vision/simclr",
        "mnist-5k",
        "resnet-narrow",
        60,
        64,
        overrides={
            "backbone.width": 12,
            "objective.hidden_dim": 128,
            "optimization.optimizer": "adamw",
            "optimization.lr": 3e-3,
        },
    ),
    Case(
        "text/word2vec",
        "library-docs",
        "word-vectors",
        200,
        256,
        "few-labels",
        margin=0.06,
        overrides={"processor.vocab_size": 4000, "processor.max_length": 32},
    ),
    Case("tabular/vime", "digits-table", "mlp", 400, 128, overrides={"backbone.dim": 64}),
    Case(
        "audio/simclr",
        "sound-trends",
        "mel-cnn",
        80,
        64,
        "few-labels",
        margin=0.06,
        overrides={**SMALL_MEL, "objective.hidden_dim": 256, "optimization.optimizer": "adamw", "optimization.lr": 6e-3},
    ),
    Case(
        "video/simclr",
        "moving-shapes",
        "conv3d-small",
        80,
        64,
        "few-labels",
        margin=0.06,
        overrides={
            **SMALL_VIDEO,
            "objective.hidden_dim": 256,
            "views.global_scale": [0.6, 1.0],
            "views.jitter_strength": 0.5,
            "optimization.optimizer": "adamw",
            "optimization.lr": 1e-2,
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_pretraining_beats_random_init(case: Case, tmp_path: Path) -> None:
    network = {key: value for key, value in case.overrides.items() if key.partition(".")[0] in _NETWORK}
    modality = case.task.partition("/")[0]
    untrained = score(case, f"{modality}/random-init", tmp_path / "random", overrides=network)
    budget = {"steps": case.steps, "batch_size": case.batch_size, "overrides": case.overrides}
    assert score(case, case.task, tmp_path / "trained", **budget) > untrained + case.margin


def score(case: Case, task: str, folder: Path, **options: Any) -> float:
    """Accuracy on the held-out rows after pretraining on the others; with few labels the mean over the draws."""
    run = selfsup.pretrain(task, data=case.data, out=folder, backbone=case.backbone, seed=0, **options)
    (record,) = selfsup.evaluate(run.encoder, data=case.data, evaluators=[case.evaluator])
    return record.metrics["accuracy@10" if case.evaluator == "few-labels" else "accuracy"]
