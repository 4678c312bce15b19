"""Cells that share a device's memory: synthetic cells on a synthetic GPU of 1,000 bytes, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup.errors import BenchmarkError
from selfsup_bench.cells.cell import Cell
from selfsup_bench.cells.run_cell import lacks_memory
from selfsup_bench.executors import Job
from selfsup_bench.executors.local import LocalExecutor
from selfsup_bench.executors.sharing import Room, kind_of

GPU = """
import json, os, pathlib, signal, time

CAPACITY = 1000
peak = 0


class Gauge:
    context = 0

    def free(self):
        return CAPACITY

    def begin(self):
        global peak
        peak = 0

    def end(self):
        return peak


class Broken(Gauge):
    def free(self):
        raise RuntimeError("no device")


def wait_for(arrived, seconds):
    # A machine under load starts processes late, so cells wait for each other; not for long, as none may come.
    end = time.monotonic() + seconds
    while not arrived() and time.monotonic() < end:
        time.sleep(0.01)


def need_of(cell):
    try:
        return int(cell.read_text() or 0)
    except FileNotFoundError:  # it has ended
        return None


def work(job):
    global peak
    cell, folder = job["cell"], pathlib.Path(job["out"])
    need = peak = cell["overrides"]["need"]
    options = cell["overrides"]
    running = lambda: len(list(folder.glob("*.using")))
    begun = lambda: len({path.stem for path in folder.glob("*.using")} | {path.stem for path in folder.glob("*.ended")})
    wait_for(lambda: running() >= options.get("after", 0), 2)
    mine = folder / f"{cell['seed']}-{cell['task']}.using"
    mine.write_text(str(need))
    used = [size for other in folder.glob("*.using") if (size := need_of(other)) is not None]
    ended = len(list(folder.glob("*.ended")))
    line = {"task": cell["task"], "pid": os.getpid(), "used": sum(used), "at_a_time": len(used), "ended": ended}
    with (folder / "ran.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\\n")
    try:
        if sum(used) > CAPACITY:
            return "out-of-memory"
        if cell["task"] == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if cell["task"] == "fails":
            return "failed"
        wait_for(lambda: running() >= options.get("until", 0), options.get("patience", 4))
        wait_for(lambda: begun() >= options.get("begun", 0), 20)
    finally:
        mine.with_suffix(".ended").touch()
        mine.unlink(missing_ok=True)
"""


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the synthetic GPU, which child processes can import, too."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "made_up_gpu.py").write_text(GPU)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "made_up_gpu", raising=False)
    import made_up_gpu  # type: ignore[import-not-found]

    return made_up_gpu


def job(out: Path, task: str, need: int, seed: int = 0, **more: Any) -> Job:
    cell = Cell(
        kind="raw", modality="vision", task=task, dataset="d", evaluators=(), overrides={"need": need, **more}, seed=seed
    )  # fmt: skip
    return Job(key=cell.key({}), cell=cell, out=out, circumstances={})


def go(gpu: Any, jobs: list[Job], **options: Any) -> tuple[dict[str, str], list[dict[str, Any]], list[str]]:
    """Errors by name of the cell, what ran in its order, and what was said."""
    said: list[str] = []
    executor = LocalExecutor(work=gpu.work, gauge=gpu.Gauge(), say=said.append, **options)
    executor_run = executor.run(jobs)
    errors = {outcome.job.cell.name: outcome.error for outcome in executor_run}
    ran = [json.loads(line) for line in (jobs[0].out / "ran.jsonl").read_text().splitlines()]
    return errors, ran, said


@pytest.fixture(autouse=True)
def _cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsup_bench.executors.local.cpu_count", lambda: 4)
    monkeypatch.setattr("selfsup_bench.executors.local.PRELOAD", ())
    monkeypatch.setattr("selfsup_bench.executors.local.target_modules", lambda found, cells: ())


def test_as_many_cells_run_at_a_time_as_fit(gpu: Any, tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", 300, seed, until=3) for seed in range(7)]
    errors, ran, said = go(gpu, jobs)
    assert errors == {job.cell.name: "" for job in jobs}
    assert said == []
    # The first one is measured by itself; then, of the four that have a core, three fit into 900 bytes.
    assert ran[0]["at_a_time"] == 1
    assert all(line["ended"] >= 1 for line in ran[1:])
    assert max(line["at_a_time"] for line in ran) == 3
    assert len({line["pid"] for line in ran}) <= 4, "processes run cell after cell"


def test_small_cells_are_limited_by_cores_alone(gpu: Any, tmp_path: Path) -> None:
    errors, ran, _ = go(gpu, [job(tmp_path, "a", 10, seed, until=4) for seed in range(9)])
    assert set(errors.values()) == {""}
    assert max(line["at_a_time"] for line in ran) == 4
    (tmp_path / "ran.jsonl").unlink()
    _, ran, _ = go(gpu, [job(tmp_path, "b", 10, seed, until=2) for seed in range(6)], parallel=2)
    assert max(line["at_a_time"] for line in ran) == 2


def test_a_cell_that_is_out_of_memory_runs_again_alone(gpu: Any, tmp_path: Path) -> None:
    jobs = [job(tmp_path, "small", 200, seed, begun=2) for seed in range(3)]
    errors, ran, said = go(gpu, [*jobs, job(tmp_path, "large", 950, 9, after=1)])
    assert set(errors.values()) == {""}
    assert said == ["large.d.seed9: it ran out of memory, beside other cells. It is run again alone."]
    assert [line["task"] for line in ran].count("large") == 2
    assert (ran[-1]["task"], ran[-1]["at_a_time"]) == ("large", 1)


def test_a_cell_that_does_not_fit_alone_is_not_tried_for_ever(gpu: Any, tmp_path: Path) -> None:
    jobs = [job(tmp_path, "small", 200, 0, begun=2), job(tmp_path, "huge", 2000, 1, after=1)]
    errors, ran, said = go(gpu, jobs)
    assert len(errors) == 2
    assert [line["task"] for line in ran].count("huge") == 2
    assert len(said) == 1
    (tmp_path / "ran.jsonl").unlink()
    _, ran, said = go(gpu, [job(tmp_path, "huge", 2000, 2)])
    assert (len(ran), said) == (1, []), "nothing ran beside it"


def test_jobs_at_a_time_can_be_set_whatever_memory_they_take(gpu: Any, tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", 240, seed, until=4, patience=20) for seed in range(4)]
    errors, ran, said = go(gpu, jobs, parallel=4)
    assert (set(errors.values()), said) == ({""}, [])
    assert max(line["at_a_time"] for line in ran) == 4, "though three fit with a margin"


def test_a_crash_on_the_gpu_ends_one_cell_alone(gpu: Any, tmp_path: Path) -> None:
    jobs = [job(tmp_path, name, 10, seed) for seed, name in enumerate(("a", "crashes", "b", "fails", "c", "e"))]
    errors, ran, _ = go(gpu, jobs, parallel=1)
    assert errors.pop("crashes.d.seed1") == "its process was ended by SIGSEGV"
    assert set(errors.values()) == {""}
    pids = {line["task"]: line["pid"] for line in ran}
    assert pids["a"] == pids["crashes"] != pids["b"] == pids["fails"] != pids["c"] == pids["e"]


def test_a_process_that_does_not_start_says_what_to_try(gpu: Any, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"could not be started: .* exit status 1\. Try --jobs 1, or --device cpu\."):
        list(LocalExecutor(work=gpu.work, gauge=gpu.Broken(), parallel=1).run([job(tmp_path, "a", 10)]))


def test_room_takes_unknown_cells_to_be_large(tmp_path: Path) -> None:
    room = Room(capacity=800)
    first, other, same = job(tmp_path, "a", 1), job(tmp_path, "b", 1), job(tmp_path, "a", 1, seed=1)
    assert kind_of(first.cell) == kind_of(same.cell) != kind_of(other.cell)
    assert room.need(first) == 100
    room.ended(first, 250)
    assert (room.need(same), room.need(other)) == (250, 500)
    assert room.fits(same, [first, first]) is False  # three times 250 is more than nine tenths of 800 bytes
    assert room.fits(same, [first]) is True
    assert room.fits(other, [first]) is False
    room.ended(other, 400)
    assert room.fits(other, [first]) is True
    room.overflowed(other)
    assert room.need(other) == 800
    assert room.fits(other, []) is True, "alone it may always try"
    assert Room().fits(other, [first] * 100) is True, "without a device there is no limit"


def test_errors_that_say_that_memory_ran_out() -> None:
    def caused_by(error: BaseException) -> BaseException:
        outer = ValueError("step 3 failed")
        outer.__cause__ = error
        return outer

    lacking = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ]
    assert all(lacks_memory(error) and lacks_memory(caused_by(error)) for error in lacking)
    assert not lacks_memory(caused_by(RuntimeError("shapes do not fit")))


HANGING = """
import os, runpy, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from selfsup_bench.cells.cell import Cell
from selfsup_bench.executors import Job
from selfsup_bench.executors import local
from selfsup_bench.executors.local import LocalExecutor
import made_up_gpu

local.PRELOAD, local.target_modules = (), lambda registry, cells: ()

if __name__ == "__main__":
    out = Path(sys.argv[1])
    made = []
    for seed in range(2):
        overrides = {"need": 1, "seconds": 600}
        cell = Cell(kind="raw", modality="vision", task="hangs", dataset="d", evaluators=(), overrides=overrides, seed=seed)
        made.append(Job(key=cell.key({}), cell=cell, out=out, circumstances={}))
    gauge = made_up_gpu.Gauge() if sys.argv[3] == "gpu" else None
    list(LocalExecutor(work=made_up_gpu.work, gauge=gauge, parallel=2).run(made))
"""


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_cells_end_when_the_benchmark_is_killed(device: str, gpu: Any, tmp_path: Path) -> None:
    script = tmp_path / "hanging.py"
    script.write_text(HANGING)
    arguments = [sys.executable, str(script), str(tmp_path), str(tmp_path / "site"), device]
    parent = subprocess.Popen(arguments, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(ran := lines_of(tmp_path / "ran.jsonl")) < 2:
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = [line["pid"] for line in ran]
    parent.kill()
    parent.wait()
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "cells go on without the benchmark"
        time.sleep(0.05)


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if text.endswith("\n")]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
