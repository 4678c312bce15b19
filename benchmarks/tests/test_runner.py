from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from selfsup.errors import BenchmarkError, InUseError, RunDirectoryError
from selfsup.runtime.file_lock import lock_folder
from selfsup_bench.executors import Job, Outcome
from selfsup_bench.leaderboard.board import Leaderboard
from selfsup_bench.planning.make_plan import Planned
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore
from selfsup_bench.runner import run, write_report


class FakeExecutor:
    """Writes the record planned for each job, or dies without one."""

    def __init__(self, records: dict[str, Record], on_start: Callable[[Job], None]) -> None:
        self.records, self.on_start, self.ran = records, on_start, list[Job]()

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        for job in jobs:
            self.on_start(job)
            self.ran.append(job)
            job.folder.mkdir(parents=True)
            if job.key in self.records:
                RecordStore(job.out).write(self.records[job.key])
                yield Outcome(job)
            else:
                job.log.write_text("Fatal Python error: out of luck\n")
                yield Outcome(job, "its process was ended by SIGSEGV")


def go(
    plan: Plan, records: dict[str, Record], out: Path, *, resume: bool = False, unavailable: dict[str, str] | None = None
) -> tuple[Leaderboard, list[Job]]:
    made: list[FakeExecutor] = []

    def make(on_start: Callable[[Job], None]) -> FakeExecutor:
        made.append(FakeExecutor(records, on_start))
        return made[0]

    planned = Planned(plan, {plan.key(cell): {"data": "x"} for cell in plan.cells()}, unavailable or {})
    return run(planned, out, make_executor=make, resume=resume), made[0].ran


def test_a_whole_benchmark_leaves_records_and_report(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    board, ran = go(plan, records, tmp_path / "out")
    assert board.failures == ()
    assert len(ran) == len(plan.cells()) == 16
    assert {job.cell.seed for job in ran if job.draw} == {0}
    assert "<h3>Ranking</h3>" in (tmp_path / "out" / "report.html").read_text()
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 16


def test_one_process_runs_a_benchmark_into_a_folder(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    for resume in (False, True):
        with lock_folder(tmp_path / "out", "benchmark toyset"), pytest.raises(InUseError, match=r"out is in use by .*toyset"):
            go(plan, records, tmp_path / "out", resume=resume)
    go(plan, records, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_cell_that_died_is_shown_with_its_log(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    lost = plan.lines[1].cells["task"][1]
    board, ran = go(plan, {key: value for key, value in records.items() if key != plan.key(lost)}, tmp_path)
    assert board.failures == ((lost.name, "its process was ended by SIGSEGV\nFatal Python error: out of luck"),)
    assert len(ran) == 16


def test_resume_runs_only_what_is_not_finished(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    lost, failed = plan.lines[1].cells["task"][1], plan.lines[0].cells["task"][0]
    first = {key: value for key, value in records.items() if key != plan.key(lost)}
    first[plan.key(failed)] = replace(records[plan.key(failed)], status="failed", error="boom")
    go(plan, first, tmp_path)
    for job_folder in (tmp_path / "cells").iterdir():
        job_folder.rename(tmp_path / "cells" / f"old-{job_folder.name}")
    board, ran = go(plan, records, tmp_path, resume=True)
    assert sorted(job.cell.name for job in ran) == sorted([lost.name, failed.name])
    assert board.failures == ()


def test_a_second_death_is_not_taken_for_the_first_ones_record(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    key = plan.key(plan.lines[0].cells["task"][0])
    go(plan, {**records, key: replace(records[key], status="failed", error="boom")}, tmp_path)
    (tmp_path / "cells").rename(tmp_path / "old-cells")
    board, _ = go(plan, {}, tmp_path, resume=True)
    assert [error.splitlines()[0] for _, error in board.failures] == ["its process was ended by SIGSEGV"]


def test_damaged_records_are_made_again(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    go(plan, records, tmp_path)
    (tmp_path / "cells").rename(tmp_path / "old-cells")
    broken = next((tmp_path / "records").iterdir())
    broken.write_text("{")
    _, ran = go(plan, records, tmp_path, resume=True)
    assert [job.key for job in ran] == [broken.stem]


def test_a_folder_that_holds_a_benchmark_is_not_overwritten(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    go(plan, records, tmp_path)
    with pytest.raises(RunDirectoryError, match=r"holds a benchmark already.*--resume.*--out"):
        go(plan, records, tmp_path)


def test_a_folder_that_holds_something_else_is_left_alone(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunDirectoryError, match="something that is no benchmark"):
        go(plan, records, tmp_path, resume=True)
    with pytest.raises(RunDirectoryError, match="is a file"):
        go(plan, records, tmp_path / "thesis.tex")


def test_what_a_killed_process_left_of_the_plan_is_no_benchmark_of_its_own(
    plan: Plan, records: dict[str, Record], tmp_path: Path
) -> None:
    (tmp_path / ".benchmark.json.01234567.1-01234567.tmp").write_text('{"schema"')
    go(plan, records, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_plan_of_a_later_version_is_not_overwritten(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    text = '{"schema": 99, "suite": "quick"}'
    (tmp_path / "benchmark.json").write_text(text)
    with pytest.raises(BenchmarkError, match=r"schema 99, and this selfsup-bench reads schemas up to .*Upgrade it"):
        go(plan, records, tmp_path, resume=True)
    assert (tmp_path / "benchmark.json").read_text() == text


def test_records_of_other_code_are_told_and_left(
    plan: Plan, records: dict[str, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RecordStore(tmp_path)
    store.path("0123").parent.mkdir()
    store.path("0123").write_text("{}")
    plan.write(tmp_path)
    board, ran = go(plan, records, tmp_path, resume=True)
    assert (len(ran), board.failures) == (len(plan.cells()), ())
    assert "1 records in this folder are of other code, data, options or packages" in capsys.readouterr().err
    assert store.path("0123").read_text() == "{}"


def test_cells_whose_data_cannot_be_had_fail_without_a_process(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    cell = plan.lines[0].cells["raw"][0]
    board, ran = go(plan, records, tmp_path, unavailable={plan.key(cell): "no network"})
    assert board.failures == ((cell.name, "no network"),)
    assert cell not in [job.cell for job in ran]


def test_report_is_made_anew_from_the_folder_alone(plan: Plan, records: dict[str, Record], tmp_path: Path) -> None:
    board, _ = go(plan, records, tmp_path)
    page = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    assert write_report(tmp_path) == board
    assert (tmp_path / "report.html").read_text() == page
    with pytest.raises(BenchmarkError, match="holds no benchmark"):
        write_report(tmp_path / "elsewhere")
