"""How the time of a benchmark of own data is shared out, and kept: training from scratch first, and slow pilots cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import selfsup_bench.cells.run_cell
from selfsup.errors import ColumnError, ConfigError
from selfsup.evaluation import FinetuneConfig
from selfsup.registry import registry
from selfsup_bench.cells.cell import Cell
from selfsup_bench.cells.lines import Line, lines
from selfsup_bench.cells.time_limit import TOO_LONG, TookTooLongError, time_limit
from selfsup_bench.executors import Job, Outcome
from selfsup_bench.own_data.budget import (
    CONVERGED,
    Decision,
    Measured,
    Network,
    decide,
    enough,
    minutes_for,
    scratch_batch,
    scratch_steps,
)
from selfsup_bench.own_data.pilot import STEPS, nothing_to_train, pilots, speed_of_cut
from selfsup_bench.own_data.rows.guess_modality import guess_modality
from selfsup_bench.own_data.schedule import References, Speed, makespan, schedule
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record, RecordStore

FAST = Speed(startup=2, evaluate=3, step=0.01, epoch=20)


def measured(*, step: float, networks: int = 2, draws: int = 10, jobs: int = 2) -> Measured:
    names = [f"{place}" for place in range(networks)]
    each = [
        Network(benchmarks=(name,), supervised=FAST, untrained=4.0, step=step, converged=CONVERGED + 100 * (name == "1"))
        for name in names
    ]
    return Measured(speeds=dict.fromkeys(names, FAST), networks=tuple(each), draws=draws, parts=jobs, jobs=jobs)


def test_training_from_scratch_keeps_its_steps_and_loses_draws_and_then_networks() -> None:
    seen: list[tuple[int, int, int]] = []
    for step in (0.001, 0.02, 0.05, 0.1, 0.3, 1.0):
        found = decide(measured(step=step), 300)
        state = (found.scratch_steps, found.scratch_draws, len(found.schedule.steps))
        if not seen or seen[-1] != state:
            seen.append(state)
    whole = [state for state in seen if state[0] == CONVERGED]
    assert [state[1:] for state in whole] == [(10, 2), (5, 2), (3, 2), (3, 1)]
    assert seen[: len(whole)] == whole, "cut last of all"
    steps, draws, count = seen[-1]
    assert 0 < steps < CONVERGED
    assert (draws, count) == (3, 1)


def test_what_is_decided_takes_no_longer_than_there_is_time() -> None:
    for step in (0.001, 0.02, 0.1, 1.0):
        for seconds in (120.0, 600.0):
            found = decide(measured(step=step), seconds)
            assert found.schedule.seconds <= seconds or found.schedule.short


def test_the_minutes_that_are_named_are_enough_and_not_many_more() -> None:
    slow = measured(step=1.0)
    assert not enough(decide(slow, 0.9 * 60 * 3))
    minutes = minutes_for(slow, enough, minutes=3, spent=20)
    assert enough(decide(slow, 0.9 * (60 * minutes - 20)))
    assert not enough(decide(slow, 0.9 * (60 * minutes / 1.25 - 20)))
    seen: list[Decision] = []
    assert minutes_for(slow, lambda found: bool(seen.append(found)), minutes=1, spent=0) > 1000, "it ends at some time"


def test_steps_to_convergence_are_those_that_the_cell_takes() -> None:
    for overrides, rows in (({}, 100), ({}, 770), ({"scratch.min_steps": 400}, 30), ({"scratch.batch_size": 40}, 400)):
        batch = scratch_batch(overrides, rows)
        config = FinetuneConfig(
            min_steps=max(CONVERGED, overrides.get("scratch.min_steps", 0)), batch_size=overrides.get("scratch.batch_size")
        )
        assert config.total_steps(-(-rows // batch)) == scratch_steps(overrides, rows)


# --- cells at a time ---


def test_cells_are_counted_in_the_order_in_which_they_run() -> None:
    assert makespan([1, 1, 4], 2) == 5, "the longest one begins last"
    assert makespan([4, 1, 1], 2) == 4
    parts = References(("a",), supervised=FAST, untrained=1.0, scratch=(1.0, 50.0))
    one = schedule({"a": FAST}, [parts], seconds=400, jobs=2)
    two = schedule({"a": FAST}, [parts], seconds=400, jobs=1)
    assert one.steps["a"] > 1.3 * two.steps["a"], "two at a time get further"
    train = one.steps["a"] * FAST.step + 5
    assert one.first == pytest.approx(makespan([1, 1, one.supervised["a"] * FAST.step + 5, train, 50], 2))


# --- pilots ---


def test_what_takes_too_long_is_ended_and_the_timer_is_gone() -> None:
    began = time.monotonic()

    def turn() -> None:
        with time_limit(0.05):
            while time.monotonic() - began < 5:
                pass

    with pytest.raises(TookTooLongError, match=TOO_LONG):
        turn()
    assert time.monotonic() - began < 2
    with time_limit(None), time_limit(20):
        pass
    with time_limit(0.05):
        pass
    time.sleep(0.1)  # nothing is raised any more


def test_a_cell_that_takes_longer_than_its_job_allows_leaves_a_record_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(job: Job) -> Record:
        time.sleep(5)
        return Record(key=job.key, cell=job.cell, status="done")

    monkeypatch.setattr(selfsup_bench.cells.run_cell, "measure", measure)
    cell = Cell(kind="task", modality="toy", task="toy/a", dataset="x", evaluators=(), steps=STEPS, overrides={}, seed=0)
    began = time.monotonic()
    assert selfsup_bench.cells.run_cell.work(Job("k" * 32, cell, tmp_path, {}, seconds=0.1).as_dict()) == "failed"
    assert time.monotonic() - began < 3
    record = RecordStore(tmp_path).read("k" * 32)
    assert record is not None
    assert record.error.startswith(TOO_LONG)


def of_line(plan: Plan) -> list[Line]:
    specs = [replace(line.spec, overrides={**line.spec.overrides, "optimization.batch_size": 32}) for line in plan.lines]
    return lines(specs, (0,), {spec.id: ("toy", "toy/net") for spec in specs})


class Piloting:
    """Writes the records of pilots: the task beta takes too long, in its second stretch of steps."""

    def __init__(self) -> None:
        self.limits: list[float | None] = []

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        for job in jobs:
            self.limits.append(job.seconds)
            slow = job.cell.task == "toy/beta"
            if slow:
                (job.folder / "run").mkdir(parents=True)
                (job.folder / "run" / "metrics.jsonl").write_text(json.dumps({"step": 4, "samples_per_second": 4.0}) + "\n")
            record = Record(
                key=job.key,
                cell=job.cell,
                status="failed" if slow else "done",
                error=f"{TOO_LONG}: it was ended after 40 s" if slow else "",
                samples_per_second=None if slow else 320.0,
                seconds={} if slow else {"pretrain": 3.0, "evaluate": 1.0, "total": 4.5},
            )
            RecordStore(job.out).write(record)
            yield Outcome(job)


def test_a_pilot_that_takes_too_long_is_cut_off_and_its_task_is_named_with_the_time_it_needs(
    plan: Plan, tmp_path: Path
) -> None:
    every = of_line(plan)
    executor = Piloting()
    untrained = {
        line.spec.id: Record(key="k", cell=line.cells["random-init"][0], status="done", seconds={"total": 3.0})
        for line in every
    }
    found = pilots(
        every,
        tmp_path,
        executor,
        threads=1,
        device="cpu",
        untrained=untrained,
        rows=(3200, 320),
        seconds=80.0,
        at_once=2,
    )
    count = len(executor.limits)
    assert set(executor.limits) == {80.0 / -(-count // 2)}, "together they keep to the time"
    assert set(found.speeds) == {"alpha-toyset"}
    assert found.failed == {}
    assert found.slow["beta-toyset"].step == 8.0, "32 rows at 4 a second"
    assert found.slow["beta-toyset"].epoch == 100
    # In that time a quarter is enough for its pilot, though others run before it.
    minutes = found.minutes_for_pilot("beta-toyset")
    assert 0.25 * 60 * minutes / -(-count // 2) == pytest.approx(found.slow["beta-toyset"].startup + STEPS * 8.0 + 3.0)
    assert "--minutes 61" in nothing_to_train({}, {"own-toy-beta": 60.2})


def test_a_pilot_that_logged_nothing_is_taken_to_be_as_slow_as_its_limit_says(tmp_path: Path) -> None:
    cell = Cell(kind="task", modality="toy", task="toy/a", dataset="x", evaluators=(), steps=STEPS,
                overrides={"optimization.batch_size": 50}, seed=0)  # fmt: skip
    speed = speed_of_cut(Job("k" * 32, cell, tmp_path, {}, seconds=40.0), 3.0, 1000)
    assert (speed.step, speed.epoch, speed.evaluate) == (10.0, 20.0, 3.0)


# --- a wrong label column ---


@pytest.mark.skipif("vision" not in registry().modalities, reason="needs the vision plugin")
def test_a_wrong_label_is_named_before_the_kind_of_data_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("first,second,kind\n" + "a long text of some words,another one of words,x\n" * 9)
    # Of modalities that need a column that is not there.
    known = registry()
    monkeypatch.setattr(known, "modalities", {"vision": known.modalities["vision"]})
    with pytest.raises(ColumnError, match=r"has no label column 'WRONG'. Its columns are first .*second .*kind"):
        guess_modality(str(tmp_path / "t.csv"), label="WRONG")
    with pytest.raises(ConfigError, match=r"The kind of data in .* cannot be guessed"):
        guess_modality(str(tmp_path / "t.csv"), label="kind")
