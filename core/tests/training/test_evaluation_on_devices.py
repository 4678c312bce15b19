"""Several processes evaluate, fine-tune and embed as one: the same numbers and files, whose batches they divided."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.errors import ConfigError, DataError, SourceError
from selfsup.evaluation.on_devices import starts_processes
from selfsup.testing.toy.sequences.processor import SequenceProcessor
from selfsup.training.device.devices import Devices

OPTIONS: dict[str, Any] = {
    "data": "toy-frames", "steps": 6, "batch_size": 32, "precision": "32", "accelerator": "cpu", "progress": False,
    "backbone": "sequence/transformer",
}  # fmt: skip

NOTE_BATCHES = """
import os
from selfsup.artifacts import Encoder
from selfsup.testing.toy.sequences.processor import SequenceProcessor
forward = Encoder.forward

def noted(self, batch):
    with open(os.environ["NOTED"] + os.environ["RANK"], "a") as file:
        file.write("x")
    return forward(self, batch)

Encoder.forward = noted
SequenceProcessor.batch_size = 24
"""
"""Runs where a worker starts."""


@pytest.fixture(scope="module")
def run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return selfsup.pretrain("sequence/mae", out=tmp_path_factory.mktemp("runs") / "run", **OPTIONS).dir


@pytest.fixture
def noted(tmp_path: Path, forked_workers: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each worker adds a character for each batch that it embeds to the file with its rank."""
    monkeypatch.setattr(SequenceProcessor, "batch_size", 24)
    monkeypatch.setenv("NOTED", str(tmp_path / "batches-"))
    monkeypatch.setenv("AT_START", NOTE_BATCHES)
    return tmp_path


def _batches(folder: Path) -> list[int]:
    return [len(path.read_text()) for path in sorted(folder.glob("batches-*"))]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, pytest.param(4, marks=pytest.mark.long)])
def test_the_file_of_embeddings_is_that_of_one_process(devices: int, run: Path, noted: Path) -> None:
    for name in ("e.npy", "e.parquet", "e.csv") if devices == 4 else ("e.parquet",):
        given = {"split": "test"}
        one = selfsup.embed(run, "toy-frames", noted / "one" / name, **given)
        several = selfsup.embed(run, "toy-frames", noted / "several" / name, **given, devices=devices)
        assert (several.rows, several.dim, several.left_out) == (one.rows, one.dim, one.left_out)
        assert several.path.read_bytes() == one.path.read_bytes()
    # 128 rows in batches of 24 are 6 batches; the first processes have one more where they do not divide evenly.
    share, more = divmod(6, devices)
    files = 3 if devices == 4 else 1
    assert _batches(noted) == [files * (share + (rank < more)) for rank in range(devices)]
    names = noted / "one" / "e.rows.csv"
    assert not names.exists() or names.read_bytes() == (noted / "several" / "e.rows.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "evaluators"),
    [
        (2, ("knn", "linear")),
        pytest.param(4, ("knn", "linear", "weighted-layers", "clustering", "few-labels"), marks=pytest.mark.long),
    ],
)
def test_the_numbers_of_an_evaluation_are_those_of_one_process(
    devices: int, evaluators: tuple[str, ...], run: Path, noted: Path
) -> None:
    one = selfsup.evaluate(run, "toy-frames", evaluators=evaluators, out=noted / "one")
    several = selfsup.evaluate(run, "toy-frames", evaluators=evaluators, out=noted / "several", devices=devices)
    assert [record.evaluator for record in several] == list(evaluators)
    assert [record.metrics for record in several] == [record.metrics for record in one]
    assert len(list((noted / "several").iterdir())) == len(evaluators)
    counts = _batches(noted)
    assert len(counts) == devices
    assert max(counts) - min(counts) <= 2  # one a split


@pytest.mark.long
def test_an_encoder_in_memory_is_fine_tuned_on_two_devices_as_on_one(run: Path, tmp_path: Path, forked_workers: None) -> None:
    encoder = selfsup.load(run)
    options = {"epochs": 2, "min_steps": 0, "augment": False, "batch_size": 32, "precision": "32"}
    one = selfsup.finetune(encoder, "toy-frames", options=options)
    two = selfsup.finetune(encoder, "toy-frames", options=options, devices=2, out=tmp_path / "tuned")
    # Of single weights, Adam makes a gradient that is all rounding as large as any: matrices are compared, as a whole.
    start = {f"encoder.backbone.{name}": value for name, value in encoder.backbone.named_parameters() if value.ndim == 2}
    assert len(start) == 9
    for name, value in start.items():
        ours, theirs = one.model.get_parameter(name), two.model.get_parameter(name)
        assert (theirs - ours).norm() < 0.01 * (ours - value).norm(), name
    assert two.record.metrics == pytest.approx(one.record.metrics, abs=0.02)
    assert two.record.metrics["cross_entropy"] == pytest.approx(one.record.metrics["cross_entropy"], rel=1e-3)
    assert (tmp_path / "tuned" / "head.safetensors").exists()


@pytest.mark.usefixtures("toy")
def test_what_several_devices_cannot_read_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"sequence": [1, 2]}]
    with pytest.raises(ConfigError, match="give a name or path instead of a list"):
        selfsup.embed(run, rows, tmp_path / "e.npy", devices=2)
    with pytest.raises(ConfigError, match="devices has no effect on the engine ray"):
        selfsup.embed(run, "toy-frames", tmp_path / "e.npy", devices=2, engine="ray")
    with pytest.raises(ConfigError, match="devices=0 is not allowed"):
        selfsup.evaluate(run, "toy-frames", devices=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="devices=3 was asked for, and this machine has 2 GPUs"):
        selfsup.finetune(run, "toy-frames", devices=3)
    for name, value in (("WORLD_SIZE", "3"), ("TORCHELASTIC_RUN_ID", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"devices=2, and 3 process\(es\) were started"):
        selfsup.embed(run, "toy-frames", tmp_path / "e.npy", devices=2)


@pytest.mark.slow
def test_an_error_of_the_processes_comes_out_as_it_was(run: Path, tmp_path: Path, forked_workers: None) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        selfsup.embed(run, tmp_path / "nowhere", tmp_path / "e.npy", devices=2)
    assert not (tmp_path / "e.npy").exists()


def test_a_batch_script_of_slurm_evaluates_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows the job's number of tasks, which it does not start itself: nobody would answer it."""
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    for name, value in (("SLURM_NTASKS", "2"), ("SLURM_JOB_NAME", "job"), ("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0")):
        monkeypatch.setenv(name, value)
    assert starts_processes(2)
    options = {"finetune": {"epochs": 1, "min_steps": 0, "augment": False}}
    records = selfsup.evaluate(run, "toy-frames", evaluators=["knn", "finetune"], options=options)
    assert all(record.metrics for record in records)
    assert not torch.distributed.is_initialized()


def test_fewer_rows_than_processes_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = Devices("cpu", "32", 100_000, 1, "auto")
    monkeypatch.setattr("selfsup.evaluation.evaluators.finetune.devices_here", lambda *_: many)
    monkeypatch.setattr(Devices, "connect", lambda _: pytest.fail("the processes start"))
    with pytest.raises(DataError, match="labelled rows cannot be shared by 100000 processes"):
        selfsup.evaluate(run, "toy-frames", evaluators=["finetune"])


@pytest.mark.slow
def test_processes_reuse_their_group_and_name_a_call_that_one_makes_alone(in_two_processes: Callable[..., None]) -> None:
    in_two_processes("two_that_meet")
