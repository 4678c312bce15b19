"""Runs that are killed and go on must end with the very bits of a run that was never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup.artifacts import RunDirectory

STEPS = 40
OPTIONS: dict[str, Any] = {
    "data": "toy-sequences",
    "out": "",
    "resume": True,
    "progress": False,
    "steps": STEPS,
    "batch_size": 32,
    "precision": "32",
    "checkpoint_every": 7,
    "log_every": 5,
    "probe_every": 20,
    "val": "toy-sequences:test",
    "backbone": "sequence/conv",
    "overrides": {
        "objective.hidden_dim": 16,
        "objective.output_dim": 8,
        "optimizer": "adamw",
        "lr": 0.01,
        "accumulate": 2,
        "ema": 0.9,
        "clip": 1.0,
    },
}

CHILD = """
import json, os, random, signal, sys, time
import selfsup.pretraining
from selfsup.training import checkpoint
from selfsup.training.stepper import Stepper

options, kills = json.loads(sys.argv[1]), json.loads(sys.argv[2])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

def attempt(kill):
    # A fork costs nothing, where a process that imports torch anew costs seconds.
    child = os.fork()
    if child:
        if "seconds" in kill:
            time.sleep(kill["seconds"])
            os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]
    try:
        take, replace = Stepper.take, checkpoint.atomic_write
        def counted(self, batch):
            take(self, batch)
            if self.step == kill.get("step"):
                die()
        def cut_short(path, write):
            def half(file):
                write(file)
                file.truncate(file.tell() // 2)
                file.flush()
                die()
            replace(path, half if kill.get("write") else write)
        Stepper.take, checkpoint.atomic_write = counted, cut_short
        selfsup.pretraining.pretrain("sequence/mocov3", **options)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

for kill in kills:
    if attempt(kill) == 256:
        sys.exit("a run failed")
sys.exit(attempt({}))
"""


def _environment(toy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(toy), "OMP_NUM_THREADS": "1"}


def _run(toy: Path, out: Path, kills: list[dict[str, Any]]) -> None:
    command = [sys.executable, "-c", CHILD, json.dumps({**OPTIONS, "out": str(out)}), json.dumps(kills)]
    ended = subprocess.run(command, env=_environment(toy), capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


def _lines(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "samples_per_second"} for line in lines]


def _differences(first: Any, second: Any, place: str = "") -> list[str]:
    """Where two checkpoints differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [place]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [found for key in first for found in _differences(first[key], second[key], f"{place}.{key}")]
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        return [found for index, item in enumerate(first) for found in _differences(item, second[index], f"{place}.{index}")]
    return [] if first == second else [place]


def _assert_same(first: Path, second: Path) -> None:
    weights = Path("encoder") / "model.safetensors"
    assert (first / weights).read_bytes() == (second / weights).read_bytes()
    checkpoints = [torch.load(path / "checkpoints" / "last.pt", weights_only=True) for path in (first, second)]
    assert _differences(*checkpoints) == []
    assert _lines(first) == _lines(second)


def test_a_run_killed_at_random_steps_ends_bit_by_bit_as_one_that_was_not(tmp_path: Path, toy: Path) -> None:
    rng = random.Random()
    steps = sorted(rng.sample(range(1, STEPS), 3))
    kills: list[dict[str, Any]] = [{"step": step} for step in steps]
    kills.insert(1, {"write": True})
    kills.append({"seconds": rng.uniform(0.05, 0.6)})
    _run(toy, tmp_path / "straight", [])
    _run(toy, tmp_path / "killed", kills)
    _assert_same(tmp_path / "straight", tmp_path / "killed")


def test_sigterm_saves_a_checkpoint_and_the_run_can_go_on(tmp_path: Path, toy: Path) -> None:
    out = tmp_path / "run"
    options = {**OPTIONS, "steps": 400, "checkpoint_every": 0, "probe_every": 400}
    child = "import json, sys, selfsup; selfsup.pretrain('sequence/mocov3', **json.loads(sys.argv[1]))"
    stopped = json.dumps({**options, "out": str(out)})
    process = subprocess.Popen(
        [sys.executable, "-c", child, stopped], env=_environment(toy), stderr=subprocess.PIPE, text=True
    )
    metrics, deadline = out / "metrics.jsonl", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and not (metrics.exists() and '"step": 10,' in metrics.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    run = RunDirectory(out)
    assert run.status == "stopped"
    step = torch.load(run.checkpoints / "last.pt", weights_only=True)["state"]["stepper"]["step"]
    assert 10 <= step < 400
    assert (run.encoder / "model.safetensors").exists()
    again = subprocess.run([sys.executable, "-c", child, stopped], env=_environment(toy), capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert run.status == "done"
    straight = json.dumps({**options, "out": str(tmp_path / "straight")})
    assert subprocess.run([sys.executable, "-c", child, straight], env=_environment(toy), timeout=120).returncode == 0
    _assert_same(tmp_path / "straight", out)


def test_ctrl_c_saves_a_checkpoint_and_interrupts(tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.pretraining import pretrain
    from selfsup.training.stepper import Stepper

    take, before = Stepper.take, signal.getsignal(signal.SIGINT)

    def pressed(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Stepper, "take", pressed)
    with pytest.raises(KeyboardInterrupt):
        pretrain("sequence/mocov3", **{**OPTIONS, "out": tmp_path / "run"})
    assert signal.getsignal(signal.SIGINT) is before
    assert RunDirectory(tmp_path / "run").status == "stopped"
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["state"]["stepper"]["step"] == 3
