"""A run whose head collapses says so, and a healthy one does not: each objective is trained both ways."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import selfsup
from selfsup.backbones import Encoded
from selfsup.objectives.base import LossOutput
from selfsup.objectives.byol import BYOL
from selfsup.objectives.dino import DINO
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.simsiam import SimSiam
from selfsup.tasks.latent.vjepa import VJEPA, VJEPAConfig
from selfsup.testing.toy.sequences.backbones import SequenceTransformer
from selfsup.testing.toy.sequences.shortcuts import toy_backbone, toy_batch
from selfsup.training.observe.learning_warnings import MetricWatch
from selfsup.types import Batch

pytestmark = pytest.mark.usefixtures("toy")

STEPS = 40
SIZES = {"objective.hidden_dim": 64, "objective.output_dim": 32}
DINO_SIZES = {"objective.hidden_dim": 64, "objective.bottleneck_dim": 16, "objective.output_dim": 128, "views.n_local": 0}
SWAV_SIZES = {**SIZES, "objective.n_prototypes": 30, "objective.queue_size": 0}
LEJEPA_SIZES = {**SIZES, "objective.n_slices": 64}
MOCO_SIZES = {**SIZES, "objective.queue_size": 64}
SIMSIAM_SIZES = {**SIZES, "objective.bottleneck_dim": 16}
AT_ONCE = {"momentum.start": 0.0, "momentum.end": 0.0}
TEACHER_AT_ONCE = {"teacher.start": 0.0, "teacher.end": 0.0}


def told(task: str, out: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]) -> list[str]:
    """The warnings of a run."""
    tokens = task.endswith(("ijepa", "data2vec"))
    selfsup.pretrain(
        task, "toy-frames", out=out, backbone="sequence/transformer" if tokens else "sequence/conv", steps=STEPS, batch_size=64,
        precision="32", log_every=5, probe_every=STEPS,
        overrides={"optimizer": "adamw", "schedule": "constant", "weight_decay_end": None, **options},
    )  # fmt: skip
    # A message may be wrapped, and those about the embedding and the machine are of other monitors.
    lines = " ".join(capsys.readouterr().err.split()).split("Warning: ")[1:]
    return [line for line in lines if not line.startswith(("the embedding ", "this machine is busy"))]


HEALTHY: list[tuple[str, dict[str, Any]]] = [
    ("vicreg", SIZES),
    ("byol", SIZES),
    ("siglip", SIZES),
    ("mocov2", MOCO_SIZES),
    ("dino", DINO_SIZES),
    ("swav", SWAV_SIZES),
    ("ijepa", {}),
    ("data2vec", {}),
]


@pytest.mark.parametrize(("objective", "options"), HEALTHY, ids=[name for name, _ in HEALTHY])
def test_a_healthy_run_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], objective: str, options: dict[str, Any]
) -> None:
    assert told(f"sequence/{objective}", tmp_path / "run", capsys, {"lr": 1e-3, **options}) == []


def no_predictor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BYOL, "build_predictor", lambda self: None)


def no_stop_gradient(patch: pytest.MonkeyPatch) -> None:
    """SimSiam with neither predictor nor stop-gradient, nor the last batch norm, which keeps each dimension's spread."""

    def forward(self: SimSiam, embeddings: Any) -> LossOutput:
        a, b = embeddings.online
        return LossOutput(-F.cosine_similarity(a, b, dim=1).mean(), {})

    patch.setattr(SimSiam, "forward", forward)
    patch.setattr(SimSiam, "build_predictor", lambda self: None)
    patch.setattr(SimSiam, "build_projector", lambda self, dim: mlp([dim, 64, 32]))


def no_centre(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DINO, "_move_center", lambda self, teacher, valid: None)


def nothing(patch: pytest.MonkeyPatch) -> None:
    """Options alone do it."""


HOT = {"objective.teacher_temperature": 1.0, "objective.warmup_teacher_temperature": 1.0}
COLLAPSED: dict[str, tuple[str, dict[str, Any], Callable[[pytest.MonkeyPatch], None], str]] = {
    "vicreg without variance": (
        "vicreg",
        {**SIZES, "objective.variance_weight": 0},
        nothing,
        r"embeddings that the loss regularises have collapsed: .*output_std.*Raise the weight",
    ),
    "lejepa without SIGReg": (
        "lejepa",
        {**LEJEPA_SIZES, "objective.sigreg_weight": 0},
        nothing,
        r"have collapsed: .*output_std",
    ),
    "byol without predictor": ("byol", {**SIZES, **AT_ONCE}, no_predictor, r"have collapsed: .*target_std.*higher momentum"),
    "simsiam without stop-gradient": ("simsiam", SIMSIAM_SIZES, no_stop_gradient, r"have collapsed"),
    "tico without contrast": (
        "tico",
        {**SIZES, **AT_ONCE, "objective.rho": 0, "lr": 3e-2},
        nothing,
        r"have collapsed: .*target_std",
    ),
    "dino without centre": (
        "dino",
        {**DINO_SIZES, "momentum.start": 0.5},
        no_centre,
        r"prototypes have collapsed: 1\.\d+ of them are in use.*center_momentum",
    ),
    "dino with a hot teacher": ("dino", {**DINO_SIZES, **HOT}, nothing, r"assignments are even: .*99\.\d %|100\.0 %"),
    "swav with even codes": ("swav", {**SWAV_SIZES, "objective.epsilon": 10}, nothing, r"assignments are even.*epsilon"),
    "ijepa whose teacher is the student": ("ijepa", TEACHER_AT_ONCE, nothing, r"have collapsed: .*target_std"),
    "data2vec whose teacher is the student": ("data2vec", TEACHER_AT_ONCE, nothing, r"have collapsed: .*target_std"),
}


@pytest.mark.parametrize("name", COLLAPSED)
def test_a_collapse_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    objective, options, break_it, warning = COLLAPSED[name]
    break_it(monkeypatch)
    warnings = told(f"sequence/{objective}", tmp_path / "run", capsys, {"lr": 1e-2, **options})
    assert warnings
    assert any(re.search(warning, line) for line in warnings), warnings


@pytest.mark.parametrize(("start", "count"), [(0.998, 0), (0.0, 1)])
def test_vjepa_is_watched_too(start: float, count: int) -> None:
    torch.manual_seed(0)
    teacher = {"start": start, "end": 1.0 if start else 0.0}
    task = VJEPA(VJEPAConfig(predictor_depth=2, teacher=teacher, short_range={"n_blocks": 3}), toy_backbone("frames"))
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-2)
    batch, lines = toy_batch("frames", n=32), []
    watch = MetricWatch(STEPS, lines.append)
    for step in range(STEPS):
        output = task(batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        task.after_step((step + 1) / STEPS)
        if step % 5 == 0:
            watch(step, {key: value.item() for key, value in output.metrics.items()})
    assert len(lines) == count, lines


def test_a_look_sees_each_part_of_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a pair whose second network gives every row the same the spread of that part is 0, and the warning names it."""
    options = {**SIZES, "backbone.dims": {"first": 16, "second": 16}, "clip": 1.0}

    def run(name: str, **more: Any) -> dict[str, Any]:
        capsys.readouterr()
        given = {"steps": 10, "batch_size": 64, "probe_every": 5, "overrides": {**options, **more}}
        return selfsup.pretrain("sequence-pair/simclr", "toy-pairs", out=tmp_path / name, **given).metrics[-1]

    healthy = run("healthy")
    assert {"embedding_std", "first/embedding_std", "first/effective_rank", "second/embedding_std"} <= healthy.keys()
    assert healthy["second/embedding_std"] > 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceTransformer, "forward", lambda self, batch: constant(self, batch))
        patch.setattr("selfsup.training.observe.periodic_checks._FIRST_STEPS", 3)
        broken = run("broken")
    assert broken["second/embedding_std"] < 1e-3
    assert broken["first/embedding_std"] > 0.2
    assert "the embedding has collapsed" in (said := " ".join(capsys.readouterr().err.split()))
    assert "(of second, step" in said


def constant(network: SequenceTransformer, batch: Batch) -> Encoded:
    """The same embedding for every row, with a gradient."""
    tokens = network.tokenize(batch)
    encoded = network.encode(tokens)
    return Encoded(encoded.mean(dim=(0, 1)).expand(len(encoded), -1))
