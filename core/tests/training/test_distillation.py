"""Runs in which a trained encoder teaches a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ArtifactError, ConfigError
from selfsup.registry import registry
from selfsup.tasks.joint_embedding.frozen_teacher import FrozenTeacher, start_teacher
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run import initialization

pytestmark = pytest.mark.usefixtures("toy")

OPTIONS: dict[str, Any] = {
    "data": "toy-sequences",
    "batch_size": 64,
    "precision": "32",
    "progress": False,
    "backbone": "sequence/conv",
    "steps": 6,
}


def distill(out: Path, teacher: Any, overrides: dict[str, Any] | None = None, **options: Any) -> selfsup.Run:
    given = {"objective.teacher": None if teacher is None else str(teacher), "backbone.dim": 8, **(overrides or {})}
    return selfsup.pretrain("sequence/distill", **{**OPTIONS, "out": out, "overrides": given, **options})


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the classes of the toy, on half of its rows."""
    run = selfsup.pretrain(
        "sequence/supervised",
        **{**OPTIONS, "steps": 120},
        out=tmp_path_factory.mktemp("teacher") / "run",
        label="label",
        rows=128,
        lr=0.01,
    )
    return run.dir


def accuracy(encoder: Any) -> float:
    (record,) = selfsup.evaluate(encoder, "toy-sequences", test="toy-sequences:test", evaluators=["knn"], progress=False)
    return float(record.metrics["accuracy"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::selfsup.errors.PretrainedRowsWarning")
def test_a_good_teacher_teaches(teacher: Path, tmp_path: Path) -> None:
    before = accuracy(distill(tmp_path / "start", teacher, steps=0).encoder)
    learned = {
        loss: accuracy(distill(tmp_path / loss, teacher, {"objective.loss": loss}, steps=60, lr=0.01).encoder)
        for loss in ("cosine", "mse", "similarity")
    }
    assert min(learned.values()) > before + 0.1, (before, learned)


def test_the_teacher_stays_as_it_is_and_is_in_no_checkpoint(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[FrozenTeacher] = []
    made = Stepper.__init__

    def watched(self: Stepper, fabric: Any, task: Any, *arguments: Any, **options: Any) -> None:
        seen.append(task.teacher)
        made(self, fabric, task, *arguments, **options)

    monkeypatch.setattr(Stepper, "__init__", watched)
    run = distill(tmp_path / "run", teacher, progress=True)
    assert f"The network learns from {teacher}." in capsys.readouterr().err
    (network,) = (each.network for each in seen)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert same(network.state_dict(), selfsup.load(teacher).backbone.state_dict())
    assert network.pooled_dim != run.encoder.embed_dim == 8
    state = torch.load(run.dir / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]["task"]
    assert any(name.startswith("projector.") for name in state)
    assert not any("teacher" in name for name in state)
    told = RunDirectory(run.dir).info()["teacher"]
    assert told["source"] == str(teacher)
    assert run.encoder.metadata["taught_by_weights"] == told["weights"]


def test_what_the_teacher_has_learned_from_counts(teacher: Path, tmp_path: Path) -> None:
    run = distill(tmp_path / "run", teacher, rows=70, seed=1)
    learned, theirs = run.encoder.pretraining_rows, selfsup.load(teacher).pretraining_rows
    assert learned is not None
    assert theirs is not None
    assert theirs.different == 128
    assert learned.different > 128
    assert learned.seen(theirs.hashes).all()


class BrokenOffError(Exception):
    """What breaks a run off."""


@pytest.mark.slow
def test_a_run_goes_on(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    shutil.copytree(teacher, source)
    whole = distill(tmp_path / "whole", source, checkpoint_every=2)
    take = Stepper.take

    def breaking(self: Stepper, batch: Any) -> None:
        if self.step == 4:
            raise BrokenOffError
        take(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "take", breaking)
        with pytest.raises(BrokenOffError):
            distill(tmp_path / "broken", source, checkpoint_every=2)
    shutil.move(source, tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="source does not exist"):
        selfsup.pretrain(out=tmp_path / "broken", resume=True, progress=False)
    other = selfsup.pretrain("sequence/vicreg", **OPTIONS, out=source, overrides={"objective.hidden_dim": 8, "output_dim": 8})
    with pytest.raises(ConfigError, match="needs the teacher that the run began with"):
        selfsup.pretrain(out=tmp_path / "broken", resume=True, progress=False)
    shutil.rmtree(other.dir)
    shutil.move(tmp_path / "elsewhere", source)
    run = selfsup.pretrain(out=tmp_path / "broken", resume=True, progress=False)
    assert same(run.encoder.backbone.state_dict(), whole.encoder.backbone.state_dict())


def test_the_best_checkpoint_loads_without_the_teacher(teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher, tmp_path / "source")
    run = distill(tmp_path / "run", tmp_path / "source", val="toy-sequences:test", probe_every=1)
    shutil.rmtree(tmp_path / "source")
    assert selfsup.load(run.dir, checkpoint="best").embed_dim == 8


def test_its_own_start_teaches_as_a_reference(tmp_path: Path) -> None:
    run = distill(tmp_path / "run", "start")
    assert RunDirectory(run.dir).info()["teacher"] == {"source": "start", "weights": ""}
    state = torch.load(run.dir / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]["task"]
    assert any(name.startswith("teacher.") for name in state)  # nothing else has it


def test_teachers_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"sequence/distill has no teacher: name the encoder that it learns from"):
        distill(tmp_path / "run", None)
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        distill(tmp_path / "run", tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="is no encoder and no run"):
        distill(tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_would_misread_the_batches(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = registry().processor_class("sequence")
    monkeypatch.setattr(kind, "unlike", classmethod(lambda cls, theirs, ours: "its ids are others."))
    with pytest.raises(ConfigError, match=r"cannot be used to teach sequence: its ids are others"):
        distill(tmp_path / "run", teacher)


class Pair(Backbone):
    """Takes rows of two parts, each in a space of its own or both in one."""

    modality = "pair"
    embed_dim = 3

    def __init__(self, *, joint: bool) -> None:
        super().__init__()
        self.joint = joint

    @property
    def part_dims(self) -> dict[str, int]:
        """Of both."""
        return {"text": 3, "vision": 3}

    @property
    def shares_space(self) -> bool:
        """As told."""
        return self.joint

    def forward(self, batch: dict[str, Tensor]) -> Encoded:
        """The one key of a view of one part."""
        ((key, value),) = [(key, value) for key, value in batch.items() if not key.endswith("/present")]
        assert "/" in key
        return Encoded(value)


def test_a_network_for_parts_teaches_each_view_as_it_is() -> None:
    present = torch.ones(4, dtype=torch.bool)
    views = [{f"{part}/x": torch.randn(4, 3), f"{part}/present": present} for part in ("text", "vision")]
    taught = start_teacher(Pair(joint=True))(views)
    assert all(torch.equal(each, view[f"{part}/x"]) for each, view, part in zip(taught, views, ("text", "vision"), strict=True))
    with pytest.raises(ConfigError, match="needs one space for all parts of a row"):
        start_teacher(Pair(joint=False))


class Sum(Backbone):
    """Embeds by sums, and remembers what it saw."""

    modality = "sequence"
    embed_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Tensor]] = []

    def forward(self, batch: dict[str, Tensor]) -> Encoded:
        """[B, 2]."""
        self.seen.append(batch)
        return Encoded(batch["image"].float().flatten(1).sum(dim=1, keepdim=True).expand(-1, 2))


def test_a_teacher_sees_frames_of_its_own_size_and_one_view_can_teach_all() -> None:
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    network = Sum()
    FrozenTeacher(network, source="x", adapt=lambda batch: {"image": batch["image"].repeat(1, 1, 2, 2)})([{"image": images}])
    assert network.seen[0]["image"].shape == (3, 3, 32, 32)
    present = torch.ones(3, dtype=torch.bool)
    views = [{"text/ids": torch.zeros(3, 1), "text/present": present}, {"vision/image": images, "vision/present": present}]
    network = Sum()
    first, second = FrozenTeacher(network, source="x", view=1)(views)
    assert first is second
    assert first[:, 0].tolist() == images.flatten(1).sum(dim=1).tolist()
    assert [list(batch) for batch in network.seen] == [["image"]]


def test_the_part_of_a_row_that_a_teacher_is_of(teacher: Path) -> None:
    info = selfsup.load(teacher).processor.info()
    parts = {"sound": {"modality": "smell", "info": {}}, "steps": {"modality": "sequence", "info": info}}
    found, seen, view = initialization.teachers(str(teacher), "pairs", {"parts": parts})
    assert (found.modality, seen, view) == ("sequence", info, 1)
    with pytest.raises(ConfigError, match="can teach no part of these rows"):
        initialization.teachers(str(teacher), "pairs", {"parts": {"sound": parts["sound"]}})
