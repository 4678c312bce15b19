"""Runs a plan: hands its cells to an executor, sees to it that each leaves a record, and writes the report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from selfsup.errors import BenchmarkError, RunDirectoryError
from selfsup.runtime import atomic_write, is_temporary, lock_folder, remove_remains
from selfsup_bench.cells.previews import read_previews
from selfsup_bench.executors import Executor, Job, Outcome
from selfsup_bench.leaderboard.board import Leaderboard
from selfsup_bench.leaderboard.build import build
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.planning.make_plan import Planned
from selfsup_bench.planning.plan import FILE, Plan
from selfsup_bench.progress import Progress, headlines_of
from selfsup_bench.records.migrations import upgraded
from selfsup_bench.records.record import Record, RecordStore, read_json
from selfsup_bench.report import render

REPORT = "report.html"
LOG_LINES = 15
"""Last lines of a dead cell's log that go into its record."""


def open_folder(out: Path, *, resume: bool) -> RecordStore:
    """The records of a benchmark's folder.

    Raises:
        RunDirectoryError: it holds a benchmark and this one does not resume, or something that is no benchmark.
        BenchmarkError: the benchmark in it is of a later version, whose plan would be lost.
    """
    if out.exists() and not out.is_dir():
        raise RunDirectoryError(f"{out} is a file; give a folder with --out.")
    if (out / FILE).is_file():
        if not resume:
            raise RunDirectoryError(f"{out} holds a benchmark already. Go on with it by --resume, or give another --out.")
        upgraded(read_json(out / FILE), "plan", out / FILE)
    elif out.is_dir() and not all(is_temporary(path) for path in out.iterdir()):
        raise RunDirectoryError(f"{out} holds something that is no benchmark. Give an empty or a new folder with --out.")
    remove_remains(out, any_machine=True)
    store = RecordStore(out)
    store.sweep()
    return store


def run(
    planned: Planned,
    out: Path,
    *,
    make_executor: Callable[[Callable[[Job], None]], Executor],
    resume: bool = False,
    threads: int = 1,
    device: str = "auto",
) -> Leaderboard:
    """Run every cell that has no finished record yet, and write the report after the last.

    Args:
        planned: what to run.
        out: folder for records, runs and report.
        make_executor: makes the executor, given the function to call when a job starts.
        resume: keep finished records of the folder and do not run their cells again.
        threads: CPU threads a cell.
        device: ``auto``, ``cpu`` or ``gpu``.

    Raises:
        RunDirectoryError: the folder holds something else.
        InUseError: another process runs a benchmark into it.
        StorageError: the disk is full or cannot be written.
    """
    with lock_folder(out, f"benchmark {planned.plan.suite}"):
        return run_locked(planned, out, make_executor=make_executor, resume=resume, threads=threads, device=device)


def run_locked(
    planned: Planned,
    out: Path,
    *,
    make_executor: Callable[[Callable[[Job], None]], Executor],
    resume: bool,
    threads: int,
    device: str,
) -> Leaderboard:
    """:func:`run` for those who hold the folder's lock already."""
    store = open_folder(out, resume=resume)
    plan = planned.plan
    plan.write(out)
    jobs = [
        Job(
            key=plan.key(cell),
            cell=cell,
            out=out,
            circumstances=planned.circumstances[plan.key(cell)],
            threads=threads,
            device=device,
            draw=cell.seed == plan.seeds[0],
        )
        for cell in plan.cells()
    ]
    todo = [job for job in jobs if not store.finished(job.key)]
    # Rounds of own data leave records of earlier plans: that is normal, and not reported.
    others = len(store.keys() - {job.key for job in jobs}) if not any(job.cell.reading for job in jobs) else 0
    progress = Progress(
        [job.cell for job in todo], reused=len(jobs) - len(todo), headlines=headlines_of(plan.lines), others=others
    )
    for job in todo:
        # What an earlier attempt left must not be taken for this one's result.
        store.path(job.key).unlink(missing_ok=True)
        if job.key in planned.unavailable:
            progress.ended(job.cell, _fail(store, job, planned.unavailable[job.key]))
    todo = [job for job in todo if job.key not in planned.unavailable]
    executor = make_executor(lambda job: progress.started(job.cell))
    with closing(executor.run(todo)) as outcomes:
        for outcome in outcomes:
            progress.ended(outcome.job.cell, _record_of(store, outcome))
    return write_report(out, plan, store)


def write_report(out: Path, plan: Plan | None = None, store: RecordStore | None = None) -> Leaderboard:
    """Make the leaderboard of a folder and write ``report.html`` into it.

    Raises:
        BenchmarkError: the folder holds no benchmark, or a record is damaged.
        StorageError: the report cannot be written.
    """
    board, plan, records = read_results(out, plan, store)
    names = {record.projection.previews for record in records.values() if record.projection is not None}
    atomic_write(out / REPORT, render(board, plan, records, read_previews(out, sorted(names - {""}))))
    return board


def read_results(
    out: Path, plan: Plan | None = None, store: RecordStore | None = None
) -> tuple[Leaderboard, Plan, dict[str, Record]]:
    """The leaderboard of a folder, its plan, and the records that the plan asks for, by key.

    Raises:
        BenchmarkError: the folder holds no benchmark, or a record is damaged.
    """
    plan = plan or Plan.read(out)
    wanted = {plan.key(cell) for cell in plan.cells()}
    store = store or RecordStore(out)
    records = {key: record for key in sorted(wanted) if (record := store.read(key)) is not None}
    try:
        board = build(plan, records)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:  # a plan with cells of other kinds
        raise BenchmarkError(
            f"{out} holds a damaged plan or record ({type(error).__name__}: {error}). Run the benchmark again with "
            "--resume, or into another folder."
        ) from error
    return replace(board, recommendation=Recommendation.read(out)), plan, records


def _record_of(store: RecordStore, outcome: Outcome) -> Record:
    """The record that the cell wrote, or one that says how its process died."""
    record = store.read(outcome.job.key)
    if record is not None:
        return record
    reason = outcome.error or "it ended without a record"
    return _fail(store, outcome.job, "\n".join([reason, *_log_tail(outcome.job)]))


def _fail(store: RecordStore, job: Job, error: str) -> Record:
    record = Record(key=job.key, cell=job.cell, status="failed", error=error, circumstances=job.circumstances)
    store.write(record)
    return record


def _log_tail(job: Job) -> list[str]:
    if not job.log.is_file():
        return []
    text = job.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return [line for line in text if line.strip()]
