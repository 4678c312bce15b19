"""Runs that are killed and go on must end with the very bits of a run that was never stopped."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.errors import InUseError, UnfinishedRunWarning
from selfsup.runtime.file_lock import lock_of
from selfsup.training.loop.signals import StopRequest
from selfsup.training.loop.stepper import Stepper

pytestmark = pytest.mark.slow

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
        "processor.max_length": 8,  # rows have 12 to 20 tokens: every epoch draws other windows of them
        "processor.keep": 2,
        "optimizer": "adamw",
        "lr": 0.01,
        "accumulate": 2,
        "ema": 0.9,
        "clip": 1.0,
    },
}

CHILD = """
import json, os, signal, sys, time, traceback
import selfsup.training.run.pretrain
from selfsup.training.loop import checkpoint
from selfsup.training.loop.signals import StopRequest
from selfsup.training.loop.stepper import Stepper

def attempt(options, stop):
    # A fork costs nothing, where a process that imports torch anew costs seconds.
    child = os.fork()
    if child:
        if "after" in stop:
            time.sleep(stop["after"])
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    take, replace = Stepper.take, checkpoint.atomic_write
    def counted(self, batch):
        take(self, batch)
        if self.step == stop.get("at"):
            os.kill(os.getpid(), stop["signal"])
    def cut_short(path, write):
        def half(file):
            write(file)
            file.truncate(file.tell() // 2)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        replace(path, half if stop.get("write") else write)
    Stepper.take, checkpoint.atomic_write = counted, cut_short
    try:
        selfsup.training.run.pretrain.pretrain("sequence/mocov3", **options)
    except SystemExit as ended:
        os._exit(ended.code)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

print(json.dumps([attempt(options, stop) for options, stop in json.loads(sys.argv[1])]))
"""


@dataclass(frozen=True)
class Story:
    """The folders of one run that was left alone and of two that were not, and how each process ended."""

    straight: Path
    killed: Path
    terminated: Path
    extended: Path
    killed_extended: Path
    codes: list[int]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, toy: Path) -> Story:
    folder, rng = tmp_path_factory.mktemp("runs"), random.Random()
    first, second, third = sorted(rng.sample(range(1, STEPS), 3))
    kills = [{"at": first}, {"write": True}, {"at": second}, {"at": third}]
    stops = [{"signal": signal.SIGKILL, **kill} for kill in kills] + [{"after": rng.uniform(0.05, 0.5)}, {}]
    attempts = [("straight", {})]
    attempts += [("killed", stop) for stop in stops]
    attempts += [("terminated", {"signal": signal.SIGTERM, "at": rng.randrange(1, STEPS)}), ("terminated", {})]
    plan = [({**OPTIONS, "out": str(folder / name)}, stop) for name, stop in attempts]
    kill = {"signal": signal.SIGKILL, "at": rng.randrange(STEPS // 2 + 1, STEPS)}
    for name, stops in (("extended", [{}]), ("killed-extended", [kill, {}])):
        plan.append(({**OPTIONS, "out": str(folder / name), "steps": STEPS // 2}, {}))
        plan += [({**OPTIONS, "out": str(folder / name)}, stop) for stop in stops]
    paths = filter(None, [str(toy), os.environ.get("PYTHONPATH")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    code, out, err = _finish([sys.executable, "-c", CHILD, json.dumps(plan)], environment, folder)
    assert code == 0, err
    codes = json.loads(out)
    assert 1 not in codes, err
    names = ("straight", "killed", "terminated", "extended", "killed-extended")
    return Story(*(folder / name for name in names), codes)


def _finish(command: list[str], environment: dict[str, str], folder: Path, silence: float = 300.0) -> tuple[int, str, str]:
    """Wait for a process as long as it goes on writing into a folder; gives status, output and errors."""
    out, err = folder / "out.txt", folder / "err.txt"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr)
    seen, since = -1.0, time.monotonic()
    while process.poll() is None:
        newest = max(path.stat().st_mtime for path in (folder, *folder.glob("*"), *folder.glob("*/metrics.jsonl")))
        if newest != seen:
            seen, since = newest, time.monotonic()
        elif time.monotonic() - since > silence:
            process.kill()
            pytest.fail(f"nothing was written for {silence:.0f} s: {err.read_text()}")
        time.sleep(0.1)
    return process.returncode, out.read_text(), err.read_text()


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


def test_a_run_killed_at_random_steps_ends_bit_by_bit_as_one_that_was_not(story: Story) -> None:
    killed = story.codes[1:7]
    assert killed[:2] == [-signal.SIGKILL] * 2
    assert killed[-1] == 0
    _assert_same(story.straight, story.killed)


def test_a_run_that_got_a_sigterm_exits_and_goes_on_bit_by_bit(story: Story) -> None:
    assert story.codes[7:9] == [128 + signal.SIGTERM, 0]
    _assert_same(story.straight, story.terminated)


def test_a_run_killed_in_its_extension_goes_on_bit_by_bit(story: Story) -> None:
    assert story.codes[9:] == [0, 0, 0, -signal.SIGKILL, 0]
    _assert_same(story.extended, story.killed_extended)
    histories = [RunDirectory(run).info()["history"] for run in (story.extended, story.killed_extended)]
    for history in histories:
        assert [(entry["from_step"], entry["total_steps"]) for entry in history] == [(0, STEPS // 2), (STEPS // 2, STEPS)]


def test_nobody_writes_into_the_folder_of_a_run_that_goes_on(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, refused = Stepper.take, []

    def meanwhile(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step in (3, 17):
            for again in ({}, {"resume": False}, {"steps": STEPS + 1}):
                with pytest.raises(
                    InUseError, match=f"run is in use by process {os.getpid()} on .*pretraining sequence/mocov3"
                ):
                    selfsup.pretrain("sequence/mocov3", **{**options, **again})
                refused.append(again)

    options = {**OPTIONS, "out": tmp_path / "run"}
    monkeypatch.setattr(Stepper, "take", meanwhile)
    selfsup.pretrain("sequence/mocov3", **options)
    assert len(refused) == 6
    steps = [line["step"] for line in _lines(tmp_path / "run")]
    assert steps == sorted(set(steps))
    assert not lock_of(tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_a_checkpoint_and_an_encoder_and_ends_the_call(
    number: signal.Signals,
    error: type[BaseException],
    tmp_path: Path,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    take, before = Stepper.take, signal.getsignal(number)

    def pressed(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Stepper, "take", pressed)
    with pytest.raises(error):
        selfsup.pretrain("sequence/mocov3", **{**OPTIONS, "out": tmp_path / "my run", "progress": True})
    assert signal.getsignal(number) is before
    run = RunDirectory(tmp_path / "my run")
    assert run.status == "stopped"
    assert torch.load(run.checkpoints / "last.pt", weights_only=True)["state"]["stepper"]["step"] == 3
    go_on = f"selfsup pretrain --resume --out '{run.path}'"
    told = " ".join(capsys.readouterr().err.split())
    assert f"Stopped at step 3 of {STEPS}. The checkpoint is {run.checkpoints / 'last.pt'}. Go on with: {go_on}" in told
    with pytest.warns(UnfinishedRunWarning, match=rf"unfinished run, at step 3 of {STEPS}. Continue it with: {go_on}"):
        assert selfsup.load(run.path).metadata["steps"] == 3
    for use in USES:
        with pytest.warns(UnfinishedRunWarning, match=f"step 3 of {STEPS}"):
            use(run.path, tmp_path)
    record = json.loads(next(run.results.glob("knn-*.json")).read_text())
    assert record["details"]["unfinished"] == {"steps": 3, "of_steps": STEPS}


USES: list[Callable[[Path, Path], object]] = [
    lambda run, out: selfsup.evaluate(run, "toy-sequences", evaluators=["knn"]),
    lambda run, out: selfsup.finetune(run, "toy-sequences", options={"epochs": 1, "min_steps": 0}),
    lambda run, out: selfsup.embed(run, "toy-sequences", out / "embeddings.npy"),
    lambda run, out: selfsup.export(selfsup.load(run), "safetensors", out / "exported"),
]


def test_a_second_ctrl_c_says_what_there_is_to_go_on_with(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take = Stepper.take
    at: list[int] = []

    def pressed(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step in at:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Stepper, "take", pressed)
    for step, told in (
        (3, "Interrupted before the first checkpoint. Begin again with"),
        (12, "The last checkpoint is .*last.pt"),
    ):
        at[:] = [step]
        with pytest.raises(KeyboardInterrupt):
            selfsup.pretrain("sequence/mocov3", **{**OPTIONS, "out": tmp_path / "run", "progress": True})
        assert re.search(f"{told}.*selfsup pretrain --resume --out", " ".join(capsys.readouterr().err.split()))
        assert RunDirectory(tmp_path / "run").status == "stopped"
        assert not lock_of(tmp_path / "run").exists()


def test_ctrl_c_while_rows_are_decoded_says_that_nothing_is_left(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selfsup.training.run.setup.prepare", pressed)
    with pytest.raises(KeyboardInterrupt):
        selfsup.pretrain("sequence/mocov3", **{**OPTIONS, "out": tmp_path / "run", "progress": True})
    assert "Interrupted before the first step" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_closed_terminal_stops_a_run_unless_nohup_ignores_it() -> None:
    for handler, asked in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):
        before = signal.signal(signal.SIGHUP, handler)
        try:
            with StopRequest() as stop:
                os.kill(os.getpid(), signal.SIGHUP)
                assert (stop.signal == signal.SIGHUP) is asked
            assert signal.getsignal(signal.SIGHUP) == handler
        finally:
            signal.signal(signal.SIGHUP, before)
