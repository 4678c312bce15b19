"""SIGUSR1, which Slurm sends before the time of a job is over: save, leave, and go back into the queue."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.training.loop.signals import StopRequest, requeue_job
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run import launch

OPTIONS: dict[str, Any] = {
    "task": "sequence/vicreg", "data": "toy-sequences", "batch_size": 32, "precision": "32", "accelerator": "cpu",
    "log_every": 1, "backbone": "sequence/conv", "overrides": {"objective.hidden_dim": 16, "objective.output_dim": 8},
}  # fmt: skip


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of Slurm whose ``scontrol`` writes down what it is told; the value is that file."""
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    return calls


def _signal_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    take = Stepper.take

    def told(self: Stepper, batch: Any) -> None:
        take(self, batch)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)  # Slurm's next one

    monkeypatch.setattr(Stepper, "take", told)


@pytest.mark.usefixtures("toy")
def test_sigusr1_saves_a_checkpoint_and_puts_the_job_back_into_the_queue(
    tmp_path: Path, scontrol: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        _signal_at(patch, 3)
        with pytest.raises(SystemExit) as ended:
            selfsup.pretrain(out=tmp_path / "run", resume=True, steps=6, **OPTIONS)
    assert ended.value.code == 128 + signal.SIGUSR1
    assert scontrol.read_text() == "requeue 77\n"
    assert "The job 77 is in the queue again." in capsys.readouterr().err
    assert [line["step"] for line in RunDirectory(tmp_path / "run").metrics()][-1] == 3
    run = selfsup.pretrain(out=tmp_path / "run", resume=True, steps=6, **OPTIONS)  # the same command again
    assert RunDirectory(run.dir).status == "done"
    assert [line["step"] for line in run.metrics] == list(range(7))


@pytest.mark.usefixtures("toy")
def test_a_job_that_would_not_go_on_is_not_put_back(
    tmp_path: Path, scontrol: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _signal_at(monkeypatch, 2)
    with pytest.raises(SystemExit):
        selfsup.pretrain(out=tmp_path / "run", steps=6, **OPTIONS)
    assert not scontrol.exists()
    assert "the job 77 is not put back into the queue" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("environment", "called"),
    [
        ({}, "requeue 77\n"),
        ({"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "4"}, "requeue 70_4\n"),
        ({"SLURM_PROCID": "1"}, ""),
        ({"SLURM_PROCID": "0", "RANK": "2"}, ""),
    ],
)
def test_the_first_process_of_a_job_alone_calls_scontrol(
    environment: dict[str, str], called: str, scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bool(requeue_job(resumes=True)) is bool(called)
    assert (scontrol.read_text() if scontrol.exists() else "") == called


def test_a_scontrol_that_fails_or_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requeue_job(resumes=True) == ""  # this is no job
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "could not be put back into the queue: " in requeue_job(resumes=True)
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho 'Access denied' >&2\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    assert requeue_job(resumes=True) == "Warning: the job 77 could not be put back into the queue: Access denied."


def test_a_handler_of_others_is_left_alone_and_a_signal_before_training_is_kept() -> None:
    theirs: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: theirs.append(number))
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (stop.signal, theirs) == (None, [signal.SIGUSR1])
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        stop = StopRequest()
        with stop.before_training():
            os.kill(os.getpid(), signal.SIGUSR1)
            with stop:
                assert stop.requeues
            os.kill(os.getpid(), signal.SIGUSR1)  # while the encoder is saved
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def signalled_at_birth(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Sends a signal as soon as a worker has started; gives the signals that the launcher passes on."""
    start, passed_on = launch._start, list[int]()

    def prepare(number: int, *, to_worker: bool) -> list[int]:
        def started(*arguments: Any) -> Any:
            worker = start(*arguments)
            send = worker.send_signal
            if to_worker:
                send(number)
            os.kill(os.getpid(), number)
            monkeypatch.setattr(worker, "send_signal", lambda sig: passed_on.append(sig) or send(sig))
            return worker

        monkeypatch.setattr(launch, "_start", started)
        return passed_on

    return prepare


@pytest.mark.slow
def test_sigusr1_in_the_first_moments_of_two_processes_stops_them_once_they_train(
    tmp_path: Path, scontrol: Path, signalled_at_birth: Callable[..., list[int]]
) -> None:
    passed_on = signalled_at_birth(signal.SIGUSR1, to_worker=True)
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        selfsup.pretrain(out=run.path, resume=True, steps=100_000, devices=2, progress=False, **OPTIONS)
    assert ended.value.code == 128 + signal.SIGUSR1
    assert passed_on[:2] == [signal.SIGUSR1] * 2
    assert run.status == "stopped"
    assert scontrol.read_text() == "requeue 77\n"


def test_sigterm_in_the_first_moments_of_two_processes_ends_the_call(
    tmp_path: Path, signalled_at_birth: Callable[..., list[int]]
) -> None:
    passed_on = signalled_at_birth(signal.SIGTERM, to_worker=False)
    with pytest.raises(SystemExit) as ended:
        selfsup.pretrain(out=tmp_path / "run", steps=100_000, devices=2, progress=False, **OPTIONS)
    assert ended.value.code == 128 + signal.SIGTERM
    assert passed_on[:2] == [signal.SIGTERM] * 2
