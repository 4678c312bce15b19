"""A benchmark of own data that is stopped and goes on: what is whole stays, no option is passed over. Nothing is trained."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from selfsup.errors import BenchmarkError, ConfigError
from selfsup.registry import registry
from selfsup_bench import commands
from selfsup_bench.cells.cell import Cell
from selfsup_bench.executors import Job, Outcome
from selfsup_bench.executors.base import Machine
from selfsup_bench.own_data import command
from selfsup_bench.own_data.advice.recommendation import FILE as RECOMMENDATION
from selfsup_bench.own_data.command import Asked, own_benchmark
from selfsup_bench.own_data.state import State
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore

pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")

MakeRecord = Callable[[str, Cell], Record]
OUT = Path("out")
ASKED = Asked(data="people.csv", label="income", minutes=5.0, names=("vime",))


class Synthetic:
    """Writes synthetic records; may be interrupted before a cell, and the processes of tasks may die."""

    def __init__(self, make: MakeRecord, stop: Callable[[Job], bool] = lambda job: False, *, tasks_die: bool = False) -> None:
        self.make, self.stop, self.tasks_die = make, stop, tasks_die
        self.ran: list[str] = []
        self.said: list[str] = []

    def machine(self) -> Machine:
        return Machine(registry(), lambda on_start: self, jobs=1, threads=1, device="cpu", kind="cpu", say=self.said.append)

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        for job in jobs:
            if self.stop(job):
                raise KeyboardInterrupt
            self.ran.append(job.key)
            if self.tasks_die and job.cell.kind == "task":
                yield Outcome(job, "its process was ended by SIGSEGV")
                continue
            task = "toy/alpha" if job.cell.kind == "task" else job.cell.task
            kind = "raw" if job.cell.kind == "boosting" else job.cell.kind
            made = self.make(job.key, replace(job.cell, task=task, kind=kind))
            RecordStore(job.out).write(replace(made, cell=job.cell, circumstances=job.circumstances))
            yield Outcome(job)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    generator = random.Random(0)
    with Path("people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "height", "job", "income"])
        for place in range(160):
            writer.writerow([generator.gauss(40, 9), generator.gauss(170, 9), generator.choice("abc"), "hl"[place % 2]])

    class NoEncoder:
        def save(self, folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(command, "load", lambda folder: NoEncoder())
    monkeypatch.setattr(command, "write_longer", lambda run, out, state: None)


def seeds() -> list[int]:
    return list(Plan.read(OUT).seeds)


def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is up."""
    state = State.read(OUT)
    assert state is not None
    replace(state, spent=1e6).write(OUT)


def test_seeds_that_are_whole_stay_though_the_time_is_up(make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Synthetic(make_record)
    own_benchmark(ASKED, OUT, first.machine())
    assert seeds() == [0, 1, 2, 3, 4]
    late(monkeypatch)
    for asked in (None, replace(ASKED, modality="tabular", per_class=10)):  # the same options may be given again
        again = Synthetic(make_record)
        board, _ = own_benchmark(asked, OUT, again.machine(), resume=True)
        assert (seeds(), list(board.seeds), again.ran) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [])


def test_a_second_interruption_loses_no_seed_either(make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(job: Job) -> bool:
        return job.cell.seed == 2 and job.cell.kind == "task" and job.out == OUT

    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            own_benchmark(ASKED, OUT, Synthetic(make_record, stop).machine(), resume=resume)
        assert seeds() == [0, 1]
        assert json.loads((OUT / RECOMMENDATION).read_text())["state"] in ("pretrain", "do-not-pretrain", "unclear")
    failed = next(key for key, record in RecordStore(OUT).all().items() if record.cell.kind == "task")
    store = RecordStore(OUT)
    record = store.read(failed)
    assert record is not None
    store.write(replace(record, status="failed", error="boom"))
    late(monkeypatch)
    again = Synthetic(make_record)
    board, _ = own_benchmark(None, OUT, again.machine(), resume=True)
    assert again.ran == [failed], "what failed is tried again"
    assert not any(line.startswith("Measuring how fast") for line in again.said), "the plan is kept"
    assert list(board.seeds) == [0, 1]


def test_more_minutes_give_more_seeds_to_a_benchmark_that_goes_on(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: Job) -> bool:
        return job.cell.seed == 1 and job.cell.kind == "task" and job.out == OUT

    with pytest.raises(KeyboardInterrupt):
        own_benchmark(ASKED, OUT, Synthetic(make_record, stop).machine())
    late(monkeypatch)
    own_benchmark(None, OUT, Synthetic(make_record).machine(), resume=True)
    assert seeds() == [0]
    own_benchmark(Asked(minutes=1e5), OUT, Synthetic(make_record).machine(), resume=True)
    assert seeds() == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match=r"whose --minutes are 100000\. They can become more"):
        own_benchmark(Asked(minutes=5), OUT, Synthetic(make_record).machine(), resume=True)


DIFFERENT = [
    (("--only", "simclr"), r"whose --only is \['vime'\], and not \['simclr'\]"),
    (("--labels-per-class", "5"), "whose --labels-per-class is 10, and not 5"),
    (("--modality", "text"), "whose --modality is 'tabular', and not 'text'"),
    (("--label", "job"), "whose --label is 'income', and not 'job'"),
    (("--unlabelled", "?"), "whose --unlabelled is "),
    (("--no-header",), "whose --table is"),
    (("--minutes", "2"), "whose --minutes are 5"),
    (("--data", "other.csv"), "whose --data is 'people.csv', and not 'other.csv'"),
]


def test_an_option_that_differs_is_refused_and_not_passed_over(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Synthetic(make_record, lambda job: True)
    with pytest.raises(KeyboardInterrupt):
        own_benchmark(ASKED, OUT, stopped.machine())
    monkeypatch.setattr(commands, "machine_here", lambda **options: stopped.machine())
    for arguments, message in DIFFERENT:
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(commands.benchmark, ["--resume", "--out", "out", *arguments], catch_exceptions=False)
    assert stopped.ran == []


def test_a_task_that_cannot_run_is_an_error_if_it_is_the_only_one(make_record: MakeRecord) -> None:
    with pytest.raises(BenchmarkError, match="No task can be trained on this data: its process was ended by SIGSEGV"):
        own_benchmark(ASKED, OUT, Synthetic(make_record, tasks_die=True).machine())


def test_an_old_recommendation_is_gone_while_seeds_run(make_record: MakeRecord) -> None:
    def stop(job: Job) -> bool:
        return job.cell.seed == 1 and job.cell.kind == "task" and job.out == OUT

    with pytest.raises(KeyboardInterrupt):
        own_benchmark(ASKED, OUT, Synthetic(make_record, stop).machine())
    assert (OUT / RECOMMENDATION).is_file()
    seen: list[bool] = []

    def look(job: Job) -> bool:
        seen.append((OUT / RECOMMENDATION).exists())
        return False

    own_benchmark(None, OUT, Synthetic(make_record, look).machine(), resume=True)
    assert seen
    assert not any(seen)
    assert (OUT / RECOMMENDATION).is_file()


def test_ctrl_c_before_anything_has_run_is_no_error_of_another_kind(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(trial: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.Trial, "measure", interrupted)
    monkeypatch.setattr(commands, "machine_here", lambda **options: Synthetic(make_record).machine())
    given = ["--data", "people.csv", "--label", "income", "--out", "out"]
    ended = CliRunner().invoke(commands.benchmark, given)
    assert "Stopped. Go on with --resume --out out." in ended.output
    assert "holds no benchmark" not in ended.output
    assert not (OUT / "benchmark.json").exists()
