"""Runs that are killed and go on end with the same bits as a run that was never stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import selfsup
from selfsup.artifacts import Encoder, RunDirectory
from selfsup.errors import InUseError, UnfinishedRunWarning
from selfsup.runtime.file_lock import lock_of
from selfsup.training.loop.signals import StopRequest
from selfsup.training.loop.stepper import Stepper

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("toy")]

STEPS = 16
KILLED, TERMINATED = -signal.SIGKILL, 128 + signal.SIGTERM
OPTIONS: dict[str, Any] = {
    "data": "toy-sequences", "out": "", "resume": True, "progress": False, "steps": STEPS, "batch_size": 32, "precision": "32",
    "checkpoint_every": 3, "log_every": 2, "probe_every": 8, "val": "toy-sequences:test", "backbone": "sequence/conv",
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
}  # fmt: skip


def pretrain(out: Path, **options: Any) -> selfsup.Run:
    return selfsup.pretrain("sequence/mocov3", **{**OPTIONS, "out": out, **options})


def signal_at(patch: pytest.MonkeyPatch, steps: list[int], *numbers: signal.Signals) -> None:
    """Send signals to this process after some steps."""
    take = Stepper.take

    def taken(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step in steps:
            for number in numbers:
                os.kill(os.getpid(), number)

    patch.setattr(Stepper, "take", taken)


def _lines(out: Path) -> list[dict[str, Any]]:
    timed = ("samples_per_second", "data_wait")
    return [{key: value for key, value in line.items() if key not in timed} for line in RunDirectory(out).metrics()]


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


def test_a_run_stopped_in_every_way_ends_bit_by_bit_as_one_that_was_not(tmp_path: Path, attempt: Callable[..., Any]) -> None:
    def told(name: str, stop: dict[str, Any], **options: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
        return ("sequence/mocov3", {**OPTIONS, "out": str(tmp_path / name), **options}, stop)

    killed = [{"at": 2, "signal": signal.SIGKILL}, {"write": True}, {"at": 8, "signal": signal.SIGKILL}]
    stops = [*killed, {"at": 11, "signal": signal.SIGTERM}, {}]
    plan = [told("straight", {}), *(told("stopped", stop) for stop in stops), told("extended", {}, steps=STEPS // 2)]
    assert attempt(plan)[0] == [0, *[KILLED] * 3, TERMINATED, 0, 0]
    _assert_same(tmp_path / "straight", tmp_path / "stopped")
    shutil.copytree(tmp_path / "extended", tmp_path / "stopped-extended")
    stops = [{"at": 13, "signal": signal.SIGKILL}, {}]
    assert attempt([told("extended", {}), *(told("stopped-extended", stop) for stop in stops)])[0] == [0, KILLED, 0]
    _assert_same(tmp_path / "extended", tmp_path / "stopped-extended")
    for name in ("extended", "stopped-extended"):
        history = RunDirectory(tmp_path / name).info()["history"]
        assert [(entry["from_step"], entry["total_steps"]) for entry in history] == [(0, STEPS // 2), (STEPS // 2, STEPS)]


def test_a_run_that_was_killed_while_it_began_can_be_resumed_twice(tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretrain(out, steps=3)
    shutil.rmtree(out / "checkpoints")
    (out / "start" / "processor" / "processor.json").write_text('{"conf')  # it was killed in the middle of this
    RunDirectory(out).update(status="running")
    pretrain(out, steps=3)
    (out / "checkpoints" / ".last.pt.01234567.1-01234567.tmp").write_text("half")  # and in the middle of its last checkpoint
    pretrain(out, steps=6)
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
    lock_of(out).touch()  # and after its last step
    pretrain(out, steps=6)
    assert not lock_of(out).exists()


def test_nobody_writes_into_the_folder_of_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, refused = Stepper.take, []

    def meanwhile(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step == 2:
            for again in ({}, {"resume": False}, {"steps": STEPS + 1}):
                with pytest.raises(
                    InUseError, match=f"run is in use by process {os.getpid()} on .*pretraining sequence/mocov3"
                ):
                    pretrain(tmp_path / "run", **again)
                refused.append(again)

    monkeypatch.setattr(Stepper, "take", meanwhile)
    pretrain(tmp_path / "run", steps=4)
    assert len(refused) == 3
    assert [line["step"] for line in _lines(tmp_path / "run")] == [0, 1, 2, 4]
    assert not lock_of(tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_a_checkpoint_and_an_encoder_and_ends_the_call(
    number: signal.Signals,
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)
    signal_at(monkeypatch, [2], number)
    with pytest.raises(error):
        pretrain(tmp_path / "my run", progress=True)
    monkeypatch.undo()  # fine-tuning takes steps, too
    assert signal.getsignal(number) is before
    run = RunDirectory(tmp_path / "my run")
    assert run.status == "stopped"
    assert torch.load(run.checkpoints / "last.pt", weights_only=True)["state"]["stepper"]["step"] == 2
    go_on = f"selfsup pretrain --resume --out '{run.path}'"
    told = " ".join(capsys.readouterr().err.split())
    assert f"Stopped at step 2 of {STEPS}. The checkpoint is {run.checkpoints / 'last.pt'}. Go on with: {go_on}" in told
    with pytest.warns(UnfinishedRunWarning, match=rf"unfinished run, at step 2 of {STEPS}. Continue it with: {go_on}"):
        encoder = selfsup.load(run.path)
    assert encoder.metadata["steps"] == 2
    if number == signal.SIGTERM:
        return
    for use in (
        lambda: selfsup.evaluate(run.path, "toy-sequences", evaluators=["knn"]),
        lambda: selfsup.finetune(run.path, "toy-sequences", options={"epochs": 1, "min_steps": 0}),
        lambda: selfsup.embed(run.path, "toy-sequences", tmp_path / "embeddings.npy"),
    ):
        with pytest.warns(UnfinishedRunWarning, match=f"at step 2 of {STEPS}"):
            use()
    record = json.loads(next(run.results.glob("knn-*.json")).read_text())
    assert record["details"]["unfinished"] == {"steps": 2, "of_steps": STEPS}


def test_a_second_ctrl_c_says_what_there_is_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = [2]
    signal_at(monkeypatch, at, signal.SIGINT, signal.SIGINT)
    for step, told in (
        (2, "Interrupted before the first checkpoint. Begin again with"),
        (4, "The last checkpoint is .*last.pt"),
    ):
        at[:] = [step]
        with pytest.raises(KeyboardInterrupt):
            pretrain(tmp_path / "run", progress=True)
        assert re.search(f"{told}.*selfsup pretrain --resume --out", " ".join(capsys.readouterr().err.split()))
        assert RunDirectory(tmp_path / "run").status == "stopped"
        assert not lock_of(tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("number", "steps", "error", "told"),
    [
        (signal.SIGTERM, [2], SystemExit, str(TERMINATED)),
        (signal.SIGTERM, [], SystemExit, str(TERMINATED)),
        (signal.SIGINT, [], KeyboardInterrupt, "is finished"),
        (signal.SIGUSR1, [], None, ""),
    ],
    ids=["stopping", "terminated", "interrupted", "requeued"],
)
def test_a_signal_while_the_encoder_is_saved_waits_until_it_is(
    number: signal.Signals,
    steps: list[int],
    error: type[BaseException] | None,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Systems send SIGTERM to all processes of a run, and the one that started the others passes it on."""
    ended: list[int] = []
    handler = signal.SIG_DFL if number == signal.SIGUSR1 else lambda number, _: ended.append(number)
    before = signal.signal(number, handler)
    save = Encoder.save

    def saved(self: Encoder, directory: str | Path) -> Path:
        os.kill(os.getpid(), number)
        return save(self, directory)

    signal_at(monkeypatch, steps, number)
    monkeypatch.setattr(Encoder, "save", saved)
    try:
        with nullcontext() if error is None else pytest.raises(error, match=told):
            pretrain(tmp_path / "run", steps=4)
    finally:
        own = signal.signal(number, before)
    run = RunDirectory(tmp_path / "run")
    assert ended == []
    assert own == handler
    assert run.status == ("stopped" if steps else "done")
    assert load_file(run.encoder / "model.safetensors")


def test_ctrl_c_while_rows_are_decoded_says_that_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selfsup.training.run.prepare_rows.prepare", pressed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "run", progress=True)
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
