"""Executors run synthetic work: processes that finish, raise, die and hang; and fakes of submitit and ray."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from selfsup.errors import BenchmarkError, ConfigError
from selfsup_bench.cells.cell import Cell
from selfsup_bench.executors import Job, Outcome, local
from selfsup_bench.executors.local import LocalExecutor, describe_exit
from selfsup_bench.executors.ray import RayExecutor
from selfsup_bench.executors.slurm import SubmititExecutor

Work = Callable[[dict[str, Any]], Any]


def jobs(out: Path, *tasks: str) -> list[Job]:
    made = []
    for seed, task in enumerate(tasks):
        cell = Cell(kind="raw", modality="vision", task=task, dataset="digits", evaluators=(), seed=seed)
        made.append(Job(key=cell.key({}), cell=cell, out=out, circumstances={"data": "x"}))
    return made


SCRIPT = """
import os, pathlib, signal, time

task = cell["task"]
print("cell", task, flush=True)
if task == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if task == "raises":
    raise RuntimeError("no good")
pathlib.Path(out, task + ".pid").write_text(str(os.getpid()))
if task == "hangs":
    time.sleep(600)
"""
"""Does what the name of the cell's task says; the job's values are its globals. A child process finds it by its path."""


@pytest.fixture(autouse=True)
def _nothing_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """The synthetic cells need no torch."""
    monkeypatch.setattr(local, "PRELOAD", ())
    monkeypatch.setattr(local, "target_modules", lambda found, cells: ())


@pytest.fixture
def pretend(tmp_path: Path) -> Work:
    script = tmp_path / "pretend.py"
    script.write_text(SCRIPT)
    return partial(runpy.run_path, str(script))


def test_job_survives_json(tmp_path: Path) -> None:
    job = jobs(tmp_path, "one")[0]
    assert Job.from_dict(job.as_dict()) == job


def test_a_cell_that_dies_takes_no_other_with_it(tmp_path: Path, pretend: Work) -> None:
    started: list[str] = []
    said: list[str] = []
    executor = LocalExecutor(parallel=2, on_start=lambda job: started.append(job.cell.task), work=pretend, say=said.append)
    outcomes = {outcome.job.cell.task: outcome for outcome in executor.run(jobs(tmp_path, "one", "killed", "raises", "two"))}
    # What the kernel may have ended for want of memory is tried once more, by itself.
    assert started == ["one", "killed", "raises", "two", "killed"]
    assert said == [
        "killed.digits.seed1: its process was ended by SIGKILL, as the kernel does when memory runs out, beside other cells. "
        "It is run again alone."
    ]
    assert {task: outcome.error for task, outcome in outcomes.items()} == {
        "one": "",
        "two": "",
        "killed": "its process was ended by SIGKILL, as the kernel does when memory runs out",
        "raises": "its process ended with exit status 1",
    }
    pids = {(tmp_path / f"{task}.pid").read_text() for task in ("one", "two")}
    assert len(pids | {str(os.getpid())}) == 3
    assert "cell killed" in outcomes["killed"].job.log.read_text()
    assert "RuntimeError: no good" in outcomes["raises"].job.log.read_text()


def test_closing_ends_what_still_runs(tmp_path: Path, pretend: Work) -> None:
    executor = LocalExecutor(parallel=2, work=pretend)
    running = executor.run(jobs(tmp_path, "hangs", "one"))
    assert next(running).job.cell.task == "one"
    deadline = time.monotonic() + 60
    while not (tmp_path / "hangs.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    pid = int((tmp_path / "hangs.pid").read_text())
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_cell_has_the_environment_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that it is forked from may have started under another one."""
    script = tmp_path / "environment.py"
    script.write_text("import os, pathlib; pathlib.Path(out, cell['task']).write_text(os.environ['SELFSUP_PLUGINS'])")
    for task in ("first", "second"):
        monkeypatch.setenv("SELFSUP_PLUGINS", task)
        list(LocalExecutor(work=partial(runpy.run_path, str(script))).run(jobs(tmp_path, task)))
        assert (tmp_path / task).read_text() == task


def test_local_executor_has_no_options() -> None:
    with pytest.raises(BenchmarkError, match="no option 'gpus'"):
        LocalExecutor(options={"gpus": "1"})


@pytest.mark.parametrize(("code", "text"), [(0, ""), (3, "exit status 3"), (-signal.SIGSEGV, "SIGSEGV"), (-63, "signal 63")])
def test_exit_codes_in_words(code: int, text: str) -> None:
    assert describe_exit(code).endswith(text)


class FakeSlurmJob:
    """A handle as ``submitit.Job`` is; it runs its function when it is asked for the third time."""

    def __init__(self, function: Callable[..., None], values: dict[str, Any], folder: str) -> None:
        self.paths = types.SimpleNamespace(result_pickle=Path(folder) / f"{values['key']}_result.pkl")
        self.paths.result_pickle.parent.mkdir(exist_ok=True)
        self.job_id = str(values["cell"]["seed"])
        self.function, self.values, self.asked, self.cancelled = function, values, 0, False
        self.error: Exception | None = None

    def done(self) -> bool:
        self.asked += 1
        if self.asked == 3:
            try:
                self.function(self.values)
            except Exception as error:
                self.error = error
            self.paths.result_pickle.touch()
        return self.asked >= 3

    def exception(self) -> Exception | None:
        return self.error

    def cancel(self) -> None:
        self.cancelled = True


class FakeSubmitit(types.ModuleType):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("submitit")
        self.parameters: dict[str, Any] = {}
        self.handles: list[FakeSlurmJob] = []
        self.most = 0
        outer = self

        class AutoExecutor:
            def __init__(self, folder: str, cluster: str | None) -> None:
                outer.parameters["folder"], outer.parameters["cluster"] = folder, cluster
                self.folder, self.cluster = folder, cluster or ""

            def update_parameters(self, **options: Any) -> None:
                if "unknown" in options:
                    raise NameError("unknown")
                outer.parameters |= options

            def map_array(self, function: Callable[..., None], values: list[dict[str, Any]]) -> list[FakeSlurmJob]:
                return [self.submit(function, value) for value in values]

            def submit(self, function: Callable[..., None], value: dict[str, Any]) -> FakeSlurmJob:
                outer.handles.append(FakeSlurmJob(function, value, self.folder))
                outer.most = max(outer.most, sum(handle.asked < 3 for handle in outer.handles))
                return outer.handles[-1]

        self.AutoExecutor = AutoExecutor


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, pretend: Work) -> FakeSubmitit:
    fake = FakeSubmitit()
    monkeypatch.setitem(sys.modules, "submitit", fake)
    monkeypatch.setattr("selfsup_bench.executors.slurm.work", pretend)
    return fake


def test_submitit_runs_every_cell_as_a_job(tmp_path: Path, slurm: FakeSubmitit) -> None:
    executor = SubmititExecutor(parallel=4, options={"timeout_min": "60", "slurm_partition": "gpu"}, poll_seconds=0)
    outcomes: list[Outcome] = list(executor.run(jobs(tmp_path, "one", "raises")))
    assert [outcome.error for outcome in outcomes] == ["", "its job 1 failed: no good"]
    assert (tmp_path / "one.pid").exists()
    assert slurm.parameters["timeout_min"] == 60
    assert slurm.parameters["slurm_partition"] == "gpu"
    assert slurm.parameters["slurm_array_parallelism"] == 4
    assert slurm.parameters["folder"] == str(tmp_path / "slurm")


def test_submitit_cancels_what_is_left(tmp_path: Path, slurm: FakeSubmitit) -> None:
    running = SubmititExecutor(poll_seconds=0).run(jobs(tmp_path, "one", "two"))
    next(running)
    slurm.handles[1].asked = -100
    running.close()
    assert [handle.cancelled for handle in slurm.handles] == [False, True]
    assert slurm.parameters["timeout_min"] == 24 * 60  # submitit's own is 5 minutes, of local processes 2


@pytest.mark.parametrize(("parallel", "options", "most"), [(2, {}, 2), (9, {}, 5), (0, {}, 3), (0, {"gpus_per_node": "1"}, 1)])
def test_submitit_runs_a_few_local_processes_at_a_time(
    parallel: int, options: dict[str, str], most: int, tmp_path: Path, slurm: FakeSubmitit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsup_bench.executors.slurm.cpu_count", lambda: 3)
    started: list[int] = []
    executor = SubmititExecutor(
        parallel=parallel,
        options={"cluster": "local", **options},
        on_start=lambda job: started.append(job.cell.seed),
        poll_seconds=0,
    )
    outcomes = list(executor.run(jobs(tmp_path, "one", "two", "three", "four", "five")))
    assert sorted(outcome.job.cell.seed for outcome in outcomes) == started == [0, 1, 2, 3, 4]
    assert not any(outcome.error for outcome in outcomes)
    assert slurm.most == most


def test_submitit_option_that_it_does_not_know(tmp_path: Path, slurm: FakeSubmitit) -> None:
    with pytest.raises(BenchmarkError, match="does not accept these options: unknown"):
        list(SubmititExecutor(options={"unknown": "1"}).run(jobs(tmp_path, "one")))


class FakeRay(types.ModuleType):
    """Runs a task when it is waited for."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self) -> None:
        super().__init__("ray")
        self.limits: list[dict[str, Any]] = []
        self.results: dict[int, Exception | None] = {}
        self.tasks: dict[int, Callable[[], None]] = {}
        self.cancelled: list[int] = []
        self.address: str | None = None
        self.most = 0
        self.deaths = 0
        """Tasks, the next ones, whose process dies."""

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0, "memory": 2e9}}]

    def init(self, address: str | None, ignore_reinit_error: bool, log_to_driver: bool, include_dashboard: bool) -> None:
        self.address = address

    def remote(self, **limits: Any) -> Callable[[Callable[..., None]], Any]:
        self.limits.append(limits)

        def wrap(function: Callable[..., None]) -> Any:
            def submit(work: Work, *arguments: Any) -> int:
                handle = len(self.limits)
                self.tasks[handle] = lambda: function(work, *arguments)
                return handle

            return types.SimpleNamespace(remote=submit)

        return wrap

    def wait(self, handles: list[int], num_returns: int) -> tuple[list[int], list[int]]:
        self.most = max(self.most, len(handles))
        first, *rest = handles
        if self.deaths:
            self.deaths -= 1
            self.results[first] = self.exceptions.RayError()
            return [first], rest
        try:
            self.tasks[first]()
            self.results[first] = None
        except Exception as error:
            self.results[first] = self.exceptions.RayTaskError(*error.args)
        return [first], rest

    def get(self, handle: int) -> None:
        error = self.results[handle]
        if error is not None:
            raise error

    def cancel(self, handle: int, force: bool) -> None:
        self.cancelled.append(handle)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, pretend: Work) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("selfsup_bench.executors.ray.work", pretend)
    return fake


def test_ray_runs_every_cell_in_a_worker_of_its_own(tmp_path: Path, ray: FakeRay) -> None:
    executor = RayExecutor(parallel=2, options={"address": "auto", "num_gpus": "0.5"})
    outcomes = list(executor.run(jobs(tmp_path, "one", "raises", "two")))
    assert [outcome.error for outcome in outcomes] == ["", "its Ray task failed: no good", ""]
    assert (tmp_path / "two.pid").exists()
    assert ray.address == "auto"
    assert ray.most == 2
    assert ray.limits[0] == {"max_calls": 1, "max_retries": 0, "num_cpus": 1, "num_gpus": 0.5}


@pytest.mark.parametrize(("deaths", "error"), [(2, ""), (3, "its Ray task died (RayError), 3 times")])
def test_ray_tries_cells_whose_process_died_again(deaths: int, error: str, tmp_path: Path, ray: FakeRay) -> None:
    ray.deaths = deaths
    said: list[str] = []
    (outcome,) = RayExecutor(say=said.append).run(jobs(tmp_path, "one"))
    assert outcome.error == error
    assert len(said) == 2
    assert (tmp_path / "one.pid").exists() is (not error)


def test_ray_cancels_what_is_left(tmp_path: Path, ray: FakeRay) -> None:
    running = RayExecutor().run(jobs(tmp_path, "one", "two"))
    next(running)
    running.close()
    assert ray.cancelled == [2]


@pytest.mark.parametrize(
    ("options", "asks"), [({"num_gpus": "2"}, "1 CPUs, 2 GPUs"), ({"memory": "4e9"}, "1 CPUs, 0 GPUs, 4 GB of memory")]
)
def test_ray_refuses_cells_for_which_no_machine_has_room(
    options: dict[str, str], asks: str, tmp_path: Path, ray: FakeRay
) -> None:
    with pytest.raises(ConfigError, match=rf"for a cell, which asks for {asks}\. Its machines have: 4 CPUs, 1 GPUs"):
        list(RayExecutor(options=options).run(jobs(tmp_path, "one")))
    assert ray.limits == []


@pytest.mark.parametrize(("options", "message"), [({"gpus": "1"}, "no option 'gpus'"), ({"num_gpus": "two"}, "are numbers")])
def test_ray_option_that_is_wrong(options: dict[str, str], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        RayExecutor(options=options)
