"""A whole benchmark is killed, twice, and goes on: no finished cell is run again, and nothing of the dead is in the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from selfsup.errors import InUseError
from selfsup.testing.toy.sequences.installed import write_distribution
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors import Job
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore

PLUGIN = """
from selfsup.registry.hookspecs import hookimpl
from selfsup.registry.specs import BenchmarkSpec

SELFSUP_API = 1


@hookimpl
def selfsup_benchmarks():
    return [
        BenchmarkSpec(
            id=f"toy-{name}", summary="x", task=f"sequence/{name}", dataset="toy-sequences", suites=("toy",), steps=20,
            backbone="sequence/conv",
            overrides={
                "optimization.batch_size": 32, "precision": "32", "evaluators.few-labels.draws": 2, "scratch.epochs": 1,
            },
        )
        for name in ("simclr",)
    ]
"""
PATIENCE = 300
"""Seconds that a part of the test may take on a busy machine."""
CELLS = 2 + 2 + 2 + 2 + 1
"""A task, random-init, supervised and scratch with two seeds each, and raw."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    write_distribution(folder)
    (folder / "killed_suite.py").write_text(PLUGIN)
    info = folder / "killed-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: killed\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[selfsup]\nkilled = killed_suite\n")
    return folder


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Benchmarks that are ended with the test."""
    every: list[subprocess.Popen[bytes]] = []
    yield every
    for process in every:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a benchmark and all of its cells at once."""
    for pid in session(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def start(site: Path, out: Path, number: int) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "SELFSUP_CACHE": str(site / "cache")}
    environment |= {"SELFSUP_PLUGINS": "bench,sequences,killed"}
    arguments = ["benchmark", "--suite", "toy", "--seeds", "2", "--jobs", "2", "--device", "cpu", "--resume", "--out"]
    with (out.parent / f"log-{number}.txt").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "selfsup", *arguments, str(out)], env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def finished(out: Path) -> dict[str, tuple[int, bytes]]:
    """Time and contents of each record."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (out / "records").glob("*.json")}


def wait_for(out: Path, records: int, process: subprocess.Popen[bytes]) -> dict[str, tuple[int, bytes]]:
    deadline = time.monotonic() + PATIENCE
    while len(found := finished(out)) < records:
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def session(leader: int) -> list[int]:
    """Processes of a session, the cells among them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the cells' processes in /proc")
def test_a_benchmark_that_is_killed_goes_on_where_it_was(
    site: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    out = tmp_path / "out"
    started.append(first := start(site, out, 1))
    wait_for(out, 2, first)
    first.kill()  # the benchmark alone: its cells notice that by themselves
    first.wait()

    started.append(second := start(site, out, 2))
    before_second = finished(out)
    found = wait_for(out, len(before_second) + 2, second)
    end(second)
    before_third = finished(out)
    assert before_third.items() >= found.items() >= before_second.items()
    torn = out / "records" / ".0123.json.01234567.1-01234567.tmp"
    torn.write_text('{"schema"')

    started.append(third := start(site, out, 3))
    assert third.wait(timeout=PATIENCE) == 0
    after = finished(out)
    assert len(after) == CELLS
    assert after.items() >= before_third.items(), "a finished cell was run again"
    log = (tmp_path / "log-3.txt").read_text()
    assert f"{CELLS - len(before_third)} cells to run ({len(before_third)} more are finished already)." in log
    assert len(re.findall(r"^\[\d+/", log, flags=re.MULTILINE)) == CELLS - len(before_third)
    assert not torn.exists()
    assert (out / "report.html").is_file()
    assert session(second.pid) == []


def test_a_failure_takes_the_place_of_no_finished_record(
    plan: Plan, records: dict[str, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell of a killed benchmark that went on (Slurm), and the same cell again, which finds its folder in use."""

    def in_use(job: Job) -> Record:
        raise InUseError("the run folder is in use")

    monkeypatch.setattr("selfsup_bench.cells.run_cell.measure", in_use)
    cell, other = plan.lines[0].cells["task"][:2]
    store = RecordStore(tmp_path)
    store.write(records[plan.key(cell)])
    assert work(Job(plan.key(cell), cell, tmp_path, {}).as_dict()) == "failed"
    assert store.read(plan.key(cell)) == records[plan.key(cell)]
    failed = replace(records[plan.key(other)], status="failed", error="an earlier error")
    store.write(failed)
    assert work(Job(plan.key(other), other, tmp_path, {}).as_dict()) == "failed"
    written = store.read(plan.key(other))
    assert written is not None
    assert (written.status, written.error) == ("failed", "the run folder is in use")
