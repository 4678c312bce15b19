"""Runs in two processes on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.damaged_files import reading
from selfsup.errors import CheckpointError, ConfigError, InUseError, NonFiniteLossError, RunError
from selfsup.runtime.file_lock import holder_of, lock_folder, lock_of
from selfsup.training.device import devices
from selfsup.training.device.fabric import SLURMEnvironment, started_by
from selfsup.training.loop.checkpoint_encoder import load_best
from selfsup.training.loop.signals import StopRequest
from selfsup.training.run import launch
from selfsup.training.run.config import RunConfig

pytestmark = pytest.mark.slow

OPTIONS: dict[str, Any] = {
    "data": "toy-sequences",
    "steps": 4,
    "batch_size": 32,
    "precision": "32",
    "backbone": "sequence/conv",
    "accelerator": "cpu",
    "overrides": {"objective.hidden_dim": 16, "objective.output_dim": 8, "clip": 1.0},
}


def _close(first: selfsup.Encoder, second: selfsup.Encoder) -> None:
    other = second.backbone.state_dict()
    for key, value in first.backbone.state_dict().items():
        torch.testing.assert_close(value, other[key], atol=1e-5, rtol=1e-4)


@contextmanager
def _holders(out: Path) -> Iterator[set[int]]:
    """The processes that are seen to hold the lock of a folder meanwhile."""
    found: set[int] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            if (holder := holder_of(lock_of(out))) is not None and holder.pid:
                found.add(holder.pid)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@pytest.mark.usefixtures("toy")
def test_two_processes_train_with_ddp_and_with_sharded_weights_alike(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    with _holders(tmp_path / "ddp") as holders:
        ddp = selfsup.pretrain("sequence/byol", out=tmp_path / "ddp", devices=2, val="toy-sequences:test", **OPTIONS)
    assert len(holders) == 1  # the first of the two processes that train
    assert os.getpid() not in holders
    assert not lock_of(tmp_path / "ddp").exists()
    assert "pretraining 4/4 steps" in capfd.readouterr().err
    with lock_folder(tmp_path / "fsdp", "pretraining"), pytest.raises(InUseError, match="fsdp is in use by"):
        selfsup.pretrain("sequence/byol", out=tmp_path / "fsdp", devices=2, **OPTIONS)
    request.getfixturevalue("forked_workers")
    fsdp = selfsup.pretrain("sequence/byol", out=tmp_path / "fsdp", devices=2, strategy="fsdp", progress=False, **OPTIONS)
    _close(ddp.encoder, fsdp.encoder)
    assert ddp.metrics[-1]["loss"] == pytest.approx(fsdp.metrics[-1]["loss"], rel=1e-4)
    assert "probe_accuracy" in ddp.metrics[-1]
    states = [torch.load(run.dir / "checkpoints" / "last.pt", weights_only=True)["state"] for run in (ddp, fsdp)]
    assert [len(state["random"]) for state in states] == [2, 2]
    parts = fsdp.dir / "checkpoints" / states[1]["parts"]
    assert (states[0]["parts"], len(list(parts.iterdir()))) == (None, 2)
    alone = selfsup.pretrain(out=fsdp.dir, resume=True, steps=6, devices=1, strategy="auto", progress=False)
    assert [line["step"] for line in alone.metrics][-1] == alone.encoder.metadata["steps"] == 6
    assert not parts.exists()  # one process writes it whole


def test_an_error_of_a_process_comes_out_as_it_was(tmp_path: Path) -> None:
    launch.write_failure(tmp_path, 1, ConnectionError("peer went away"))
    launch.write_failure(tmp_path, 0, NonFiniteLossError("the loss became nan at step 3"))
    error = launch._failure(tmp_path, [(0, 1), (1, 1)], 2)
    assert isinstance(error, NonFiniteLossError)
    assert str(error) == "the loss became nan at step 3"


def test_a_process_that_dies_is_named_with_its_signal(tmp_path: Path) -> None:
    """Also where the others wrote errors: they failed because it was gone."""
    (tmp_path / "log-1.txt").write_text("half a line")
    launch.write_failure(tmp_path, 0, ConnectionError("Connection closed by peer"))
    launch.write_failure(tmp_path, 2, CheckpointError("could not be written (Connection closed by peer)"))
    for number, known in ((signal.SIGKILL, "when memory is full"), (signal.SIGSEGV, "half a line")):
        error = launch._failure(tmp_path, [(0, 1), (1, -number), (2, 1)], 4)
        assert type(error) is RunError
        assert f"process 1 of 4 (ranks count from 0) died: {number.name} (signal {number:d}) killed it" in str(error)
        assert known in str(error)
    # NCCL's watchdog aborts the others once one has failed.
    assert isinstance(launch._failure(tmp_path, [(0, 1), (1, -signal.SIGABRT), (2, 1)], 4), CheckpointError)
    assert "ended with status 3" in str(launch._failure(tmp_path / "none", [(1, 3)], 2))


def test_an_error_of_no_class_of_ours_names_its_process(tmp_path: Path) -> None:
    launch.write_failure(tmp_path, 1, ZeroDivisionError("by zero"))
    error = launch._failure(tmp_path, [(1, 1)], 2)
    assert str(error) == "process 1 of 2 failed, which ended the others: ZeroDivisionError: by zero"


@pytest.mark.usefixtures("forked_workers")
def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    options = {**OPTIONS, "overrides": {"optimizer": "sgd", "lr": 1e38, "schedule": "constant", "warmup_fraction": 0.0}}
    with pytest.raises(NonFiniteLossError, match=r"by step 1 of 4|at step \d of 4"):
        selfsup.pretrain("sequence/simclr", out=tmp_path / "run", devices=2, progress=False, **options)
    assert RunDirectory(tmp_path / "run").status == "failed"


@pytest.mark.usefixtures("toy", "forked_workers")
def test_the_moving_average_of_sharded_weights_is_that_of_whole_ones(tmp_path: Path) -> None:
    """In the checks of the embeddings, the best checkpoint and the encoder, and after a resumed run."""
    options = {**OPTIONS, "val": "toy-sequences:test", "probe_every": 1, "overrides": {**OPTIONS["overrides"], "ema": 0.9}}
    runs = []
    for strategy in ("ddp", "fsdp"):
        started = {"devices": 2, "strategy": strategy, "progress": False}
        run = selfsup.pretrain("sequence/byol", out=tmp_path / strategy, **started, **{**options, "steps": 2})
        runs.append(selfsup.pretrain(out=run.dir, resume=True, steps=4, **started))
    whole, sharded = runs
    _close(whole.encoder, sharded.encoder)
    _close(*(load_best(RunDirectory(run.dir)) for run in runs))
    spreads = [[line["embedding_std"] for line in run.metrics if "embedding_std" in line] for run in runs]
    assert len(spreads[0]) == 5
    assert spreads[1] == pytest.approx(spreads[0], rel=1e-4)
    plain = selfsup.pretrain("sequence/byol", out=tmp_path / "plain", progress=False, **OPTIONS)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        _close(plain.encoder, sharded.encoder)


def test_more_devices_than_there_are_and_a_world_that_differs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(task="sequence/byol", data="toy-sequences", devices=4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="devices=4 was asked for, and this machine has 2 GPUs"):
        devices.resolve_devices(config)
    assert devices.resolve_devices(config.model_copy(update={"accelerator": "cpu", "precision": "32"})).accelerator == "cpu"
    assert devices.resolve_devices(config.model_copy(update={"devices": 2, "precision": "16"})).accelerator == "cuda"
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "3")
    monkeypatch.setitem(os.environ, "TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ConfigError, match=r"3 process\(es\) were started, but devices=4 times nodes=1 is 4"):
        devices.resolve_devices(config)
    assert devices.resolve_devices(config.model_copy(update={"devices": 3, "accelerator": "cpu"})).processes == 3


def test_a_machine_with_slurm_is_no_job_and_gives_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "srun"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_JOB_NAME", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    assert (devices.process_ranks(), devices.launched_outside()) == ((0, 0), False)
    devices.Devices("cpu", "32", 1, 1, "auto").connect()
    monkeypatch.setenv("SLURM_NTASKS", "2")  # a batch script, which is one process
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert (devices.process_ranks(), devices.started_processes(), devices.launched_outside()) == ((0, 0), 1, False)
    assert devices.devices_here(torch.device("cpu"), "32").connect().world_size == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # srun with one task
    assert not devices.launched_outside()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert (devices.process_ranks(), devices.started_processes(), devices.launched_outside()) == ((1, 0), 2, True)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2")  # srun --ntasks=2
    assert devices.Devices("cpu", "32", 2, 1, "auto").rank == 1
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert devices.Devices("cpu", "32", 2, 1, "auto").rank == 1
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2(x2),1")
    with pytest.raises(ConfigError, match=r"unequal numbers of processes on its machines \(2\(x2\),1\)"):
        started_by()


def test_steps_of_a_slurm_job_that_run_at_once_meet_at_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def meeting_point(step: str, machines: str = "gpu[4-7]") -> tuple[str, int]:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.setenv(name, "")  # so that it is as before afterwards
            monkeypatch.delenv(name)
        monkeypatch.setenv("SLURM_JOB_ID", "123456")
        monkeypatch.setenv("SLURM_STEP_ID", step)
        monkeypatch.setenv("SLURM_NODELIST", "gpu[1-7]")  # of the job
        monkeypatch.setenv("SLURM_STEP_NODELIST", machines)
        environment = SLURMEnvironment()
        return environment.main_address, environment.main_port

    assert meeting_point("0") == meeting_point("0") == ("gpu4", 18456)
    assert len({meeting_point(str(step))[1] for step in range(100)}) == 100
    assert meeting_point("1", "gpu2")[0] == "gpu2"
    meeting_point("0")  # what a person sets counts
    monkeypatch.setenv("MASTER_ADDR", "head")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert (SLURMEnvironment().main_address, SLURMEnvironment().main_port) == ("head", 29500)


def test_an_error_file_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "error-0.json").write_bytes(b"")
    assert "ended with status 1" in str(launch._failure(tmp_path, [(0, 1)], 2))
    error = launch._failure(tmp_path, [(0, launch._UNWRITTEN)], 2)
    assert type(error).__name__ == "StorageError"
    assert str(error).endswith("its error is printed above.")
    assert str(launch._failure(tmp_path, [(1, launch._UNWRITTEN)], 2)).endswith("its last output: (lost)")
    (tmp_path / "log-1.txt").write_text("Error: Cannot write x: the disk is full\n")
    assert str(launch._failure(tmp_path, [(1, launch._UNWRITTEN)], 2)).endswith("Cannot write x: the disk is full")
    launch.write_failure(tmp_path, 1, NonFiniteLossError("the loss became nan"))
    assert isinstance(launch._failure(tmp_path, [(0, 1), (1, 1)], 2), NonFiniteLossError)


def test_a_worker_whose_launcher_is_gone_ends(tmp_path: Path) -> None:
    plan = {"call": "builtins:input", "arguments": {}, "launcher": 2**31 - 1}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "selfsup.training.run.launch", str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "RANK": "1"}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as worker:
        try:
            assert worker.wait(60) == -signal.SIGTERM
        finally:
            worker.kill()


def test_the_first_process_is_ended_if_the_second_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        ended: ClassVar[list[str]] = []

        def kill(self) -> None:
            self.ended.append("killed")

        def wait(self) -> None:
            self.ended.append("waited")

    def start(folder: Path, rank: int, environment: object) -> Worker:
        if rank:
            raise RunError("process 1 cannot be started")
        return Worker()

    monkeypatch.setattr(launch, "_start", start)
    with pytest.raises(RunError, match="cannot be started"):
        launch.run_processes("time:sleep", {}, 2, StopRequest())
    assert Worker.ended == ["killed", "waited"]


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("gloo: closed")])
def test_errors_of_the_machine_are_not_taken_for_damage(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)), reading(tmp_path, CheckpointError, "start a new run"):
        raise error
