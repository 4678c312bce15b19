"""A process of several that is killed ends the run at once with its name, and the run goes on bit by bit as if nothing was."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.errors import RunError
from selfsup.testing.toy.sequences.processor import SequenceProcessor

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_workers")]

OPTIONS: dict[str, Any] = {
    "task": "sequence/byol", "data": "toy-sequences", "steps": 12, "batch_size": 32, "precision": "32", "accelerator": "cpu",
    "backbone": "sequence/conv", "checkpoint_every": 3, "log_every": 2, "probe_every": 8, "val": "toy-sequences:test",
    "progress": False, "resume": True,
    "overrides": {"objective.hidden_dim": 16, "objective.output_dim": 8},
}  # fmt: skip

SMALL = """
from selfsup.testing.toy.sequences.processor import SequenceProcessor
SequenceProcessor.batch_size = 48
"""
"""Runs where a worker starts: checks of the embeddings have a batch for each process."""
KILL = f"""{SMALL}
import os, signal, time
from selfsup.training.loop import checkpoint
from selfsup.training.loop.stepper import Stepper
from selfsup.training.loop.trainer import Trainer
from selfsup.training.observe.periodic_checks import Looks

def die():
    with open(os.environ["KILLED_AT"], "w") as file:
        file.write(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)

def before(kind, name, due):
    call = getattr(kind, name)
    def called(self, *arguments):
        if due(self, *arguments):
            die()
        return call(self, *arguments)
    setattr(kind, name, called)

where, rank, step = os.environ["KILL"].split(":")
if os.environ["RANK"] == rank:
    if where == "training":
        before(Stepper, "take", lambda stepper, _: stepper.step == int(step))
    elif where == "saving":
        before(Trainer, "_save", lambda trainer: trainer.stepper.step == int(step))
    elif where == "evaluating":
        before(Looks, "__call__", lambda _, now: now == int(step))
    elif where == "writing":
        replace = checkpoint.atomic_write
        def cut(path, write):
            def half(file):
                write(file)
                file.truncate(file.tell() // 2)
                die()
            replace(path, half)
        checkpoint.atomic_write = cut
"""
"""Runs where a worker starts."""


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return selfsup.load(out).backbone.state_dict()


def _lines(out: Path) -> list[dict[str, Any]]:
    timed = ("samples_per_second", "data_wait")
    return [{key: value for key, value in line.items() if key not in timed} for line in RunDirectory(out).metrics()]


LONG = [
    pytest.param(n, way, ("training", "writing", "saving", "evaluating"), marks=pytest.mark.long, id=f"{n}-{way}")
    for n in (2, 4)
    for way in ("ddp", "fsdp")
]
"""Each takes half a minute and more."""


@pytest.mark.parametrize(
    ("devices", "strategy", "places"), [pytest.param(2, "ddp", ("writing", "training"), id="short"), *LONG]
)
def test_a_killed_process_ends_the_run_with_its_name_and_the_run_goes_on_bit_by_bit(
    devices: int, strategy: str, places: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**OPTIONS, "devices": devices, "strategy": strategy}
    killed_at = tmp_path / "killed"
    monkeypatch.setenv("KILLED_AT", str(killed_at))
    run = RunDirectory(tmp_path / "run")
    last = devices - 1
    ranks = {"training": last, "writing": 0, "saving": last, "evaluating": last}
    steps = {"training": 4, "writing": 3, "saving": 6, "evaluating": 8}
    for where in places:
        rank = ranks[where]
        monkeypatch.setenv("AT_START", KILL)
        monkeypatch.setenv("KILL", f"{where}:{rank}:{steps[where]}")
        with pytest.raises(RunError, match=rf"process {rank} of {devices} .* SIGKILL \(signal 9\) killed it") as failed:
            selfsup.pretrain(out=run.path, **options)
        assert time.time() - float(killed_at.read_text()) < 20, where
        assert (run.info()["status"], run.info()["error"]) == ("failed", str(failed.value))
    monkeypatch.setenv("AT_START", SMALL)
    selfsup.pretrain(out=run.path, **options)
    selfsup.pretrain(out=tmp_path / "straight", **options)
    assert run.status == "done"
    first, second = _weights(run.path), _weights(tmp_path / "straight")
    assert [name for name in second if not torch.equal(first[name], second[name])] == []
    assert _lines(run.path) == _lines(tmp_path / "straight")
    monkeypatch.setattr(SequenceProcessor, "batch_size", 48)
    selfsup.pretrain(out=tmp_path / "alone", **{**options, "devices": 1, "strategy": "auto", "steps": 1})
    assert _lines(tmp_path / "alone")[0] == _lines(run.path)[0]  # the first check, whose batches all processes divide


@pytest.mark.long
def test_workers_end_when_the_process_that_started_them_is_gone(tmp_path: Path) -> None:
    """Nobody else would end them; they save what they have."""
    program = f"""
import selfsup, signal, os
from selfsup.training.run import launch
wait = launch._wait
def killed(workers, stop):
    print(*[worker.pid for worker in workers], flush=True)
    while not os.path.exists({str(tmp_path / "run" / "checkpoints" / "last.pt")!r}):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
launch._wait = killed
options = { ({**OPTIONS, "steps": 1_000_000, "probe_every": 500_000})!r}
selfsup.pretrain(out={str(tmp_path / "run")!r}, devices=2, **options)
"""
    launcher = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=120, check=False)
    assert launcher.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in launcher.stdout.split()]
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert RunDirectory(tmp_path / "run").status == "stopped"
