"""How own data is guessed, divided and planned for, without training anything."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsup.data import row_hashes
from selfsup.errors import BenchmarkError, ConfigError, DataError, UnknownIdError
from selfsup.registry import registry
from selfsup_bench.cells.cell import Cell
from selfsup_bench.executors.local import LocalExecutor
from selfsup_bench.own_data.candidates import candidates, filled, on_data
from selfsup_bench.own_data.pilot import STEPS, pilot_cell, speed_of
from selfsup_bench.own_data.rows.divide_rows import Divided, Limits, divide
from selfsup_bench.own_data.rows.guess_modality import guess_modality
from selfsup_bench.own_data.rows.read_rows import Division, Reading, parts_of_cell
from selfsup_bench.own_data.schedule import ENOUGH_STEPS, MOST_EPOCHS, References, Speed, schedule
from selfsup_bench.own_data.state import State
from selfsup_bench.own_data.trial import Trial
from selfsup_bench.records.record import Record

pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
pytest.importorskip("selfsup_text", reason="needs the text plugin")
pytest.importorskip("selfsup_vision", reason="needs the vision plugin")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SELFSUP_DATA", raising=False)


def write_table(path: Path, labels: list[str], *, seed: int = 0) -> Path:
    """A csv of different rows, one for each label; empty ones are missing."""
    generator = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "height", "job", "kind"])
        for label in labels:
            shift = 10 if label == "old" else 0
            writer.writerow([30 + shift + generator.gauss(0, 5), generator.gauss(170, 9), generator.choice("abc"), label])
    return path


def read(path: Path, **options: object) -> Reading:
    return Reading(data=str(path), modality="tabular", label="kind", **options)  # type: ignore[arg-type]


def test_rows_without_a_label_are_pretrained_on_and_test_rows_are_not(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["old", "young"] * 60 + [""] * 300)
    reading = read(table)
    divided = divide(reading, wanted=10, limits=Limits())
    assert (divided.rows, divided.labels, divided.n_labelled, divided.n_test) == (420, 120, 60, 60)
    assert divided.n_train == 360
    assert (divided.metric, divided.per_class, divided.kind, divided.label) == ("accuracy", 10, "class", "kind")
    parts = divided.division.parts(reading)
    tested = row_hashes(parts.test)
    for rows in (parts.train, parts.labelled):
        assert not np.isin(row_hashes(rows), tested).any()
    assert sorted(np.bincount(parts.test.labels()).tolist()) == [30, 30]


def test_the_order_of_rows_does_not_change_what_is_tested_on(tmp_path: Path) -> None:
    lines = write_table(tmp_path / "a.csv", ["old", "young"] * 40).read_text().splitlines()
    other = tmp_path / "b.csv"
    other.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    tested = []
    for path in (tmp_path / "a.csv", other):
        reading = read(path)
        tested.append(set(row_hashes(divide(reading, wanted=10, limits=Limits()).division.parts(reading).test).tolist()))
    assert tested[0] == tested[1]
    assert len(tested[0]) == 40


def test_rows_that_are_alike_are_on_one_side(tmp_path: Path) -> None:
    lines = write_table(tmp_path / "a.csv", ["old", "young"] * 20 + [""] * 40).read_text().splitlines()
    # Each labelled row once more without its label.
    (tmp_path / "b.csv").write_text("\n".join([*lines, *(line.rpartition(",")[0] + "," for line in lines[1:41])]) + "\n")
    reading = read(tmp_path / "b.csv")
    divided = divide(reading, wanted=10, limits=Limits())
    parts = divided.division.parts(reading)
    assert divided.rows == 120
    assert divided.n_train == 120 - 2 * divided.n_test
    assert not np.isin(row_hashes(parts.train), row_hashes(parts.test)).any()


def test_labelled_rows_may_be_apart_and_are_then_left_out_of_the_others(tmp_path: Path) -> None:
    generator = random.Random(0)
    words = ["red", "green", "blue", "black", "white", "house", "tree", "car"]
    texts = [" ".join(generator.choices(words, k=9)) for _ in range(200)]
    (tmp_path / "corpus.txt").write_text("\n".join(texts) + "\n")
    rows = [f"{text},{'sport' if place % 2 else 'politics'}" for place, text in enumerate(texts[:60])]
    (tmp_path / "few.csv").write_text("\n".join(["text,topic", *rows]) + "\n")
    reading = Reading(data=str(tmp_path / "corpus.txt"), labelled=str(tmp_path / "few.csv"), modality="text", label="topic")
    divided = divide(reading, wanted=10, limits=Limits())
    different = len(set(texts))
    assert (divided.rows, divided.labels, divided.n_test) == (200, 60, 30)
    assert different > 190
    assert 165 <= divided.n_train <= 170
    parts = divided.division.parts(reading)
    assert not np.isin(row_hashes(parts.train), row_hashes(parts.test)).any()
    assert parts.train.label is None


def test_a_test_source_is_tested_on_as_it_is(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ["old", "young"] * 30)
    write_table(tmp_path / "b.csv", ["old"] * 9 + ["young"] * 40, seed=1)
    divided = divide(read(tmp_path / "a.csv", test=str(tmp_path / "b.csv")), wanted=10, limits=Limits())
    assert (divided.n_train, divided.n_labelled, divided.n_test) == (60, 60, 49)
    assert divided.metric == "balanced_accuracy", "of 9 and 40 rows"
    write_table(tmp_path / "c.csv", ["old"] * 9 + ["young"] * 9 + ["neither"] * 3, seed=1)
    odd = divide(read(tmp_path / "a.csv", test=str(tmp_path / "c.csv")), wanted=10, limits=Limits())
    assert odd.n_test == 21, "a class that only test rows have is no error"


def test_few_labels_a_class_are_fewer_than_a_class_has(tmp_path: Path) -> None:
    divided = divide(read(write_table(tmp_path / "t.csv", ["old", "young"] * 10)), wanted=10, limits=Limits())
    assert (divided.n_labelled, divided.n_test, divided.per_class) == (10, 10, 3)
    assert "Few labels are 3 a class here, and not 10" in divided.notes[0]


@pytest.mark.parametrize("labels", [["old"] * 3 + ["young"] * 30, ["old"] * 40, ["old"] * 3 + ["young"] * 3])
def test_too_few_labels_are_an_error_that_says_how_many_are_needed(tmp_path: Path, labels: list[str]) -> None:
    table = write_table(tmp_path / "t.csv", [*labels, *[""] * 50])
    with pytest.raises(
        DataError, match=r"too few labels: at least two classes need 4 labelled rows each .* Found in column 'kind'"
    ):
        divide(read(table), wanted=10, limits=Limits())


def test_numbers_are_scored_by_r2_and_need_twenty(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [f"{value / 7:.3f}" for value in range(100)] + [""] * 30)
    divided = divide(read(table), wanted=10, limits=Limits())
    assert (divided.metric, divided.kind, divided.n_test) == ("r2", "number", 50)
    assert divided.per_class == 3, "two thirds of five in each tenth"
    assert divided.drawn == 30
    small = write_table(tmp_path / "small.csv", [f"{value / 7:.3f}" for value in range(40)])
    found = divide(read(small), wanted=10, limits=Limits())
    assert (found.n_labelled, found.per_class, found.drawn) == (24, 4, 16), "too few for ten tenths"
    few = write_table(tmp_path / "few.csv", [f"{value / 7:.3f}" for value in range(12)] + [""] * 30)
    with pytest.raises(DataError, match="12 labelled rows, which is too few"):
        divide(read(few, label_kind="number"), wanted=10, limits=Limits())


def test_large_data_is_sampled_and_that_is_said(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["old", "young"] * 400 + [""] * 2000)
    divided = divide(read(table), wanted=10, limits=Limits(train=500, labelled=100, test=50))
    assert (divided.n_train, divided.n_labelled, divided.n_test) == (500, 100, 50)
    assert any("500 of the 2,800 rows" in note for note in divided.notes)
    assert any("Of the 800 labelled rows 100 are used for probes and 50 for testing" in note for note in divided.notes)


def test_data_that_changed_is_told_from_that_of_the_plan(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["old", "young"] * 20)
    reading = read(table)
    division = divide(reading, wanted=5, limits=Limits()).division
    division.save(tmp_path)
    assert Division.load(tmp_path, division.digest).digest == division.digest
    cell = {**reading.as_dict(), "rows": division.digest}
    assert len(parts_of_cell(cell, tmp_path).test) == 20
    write_table(table, ["old", "young"] * 20, seed=5)
    with pytest.raises(BenchmarkError, match="has changed since the benchmark began"):
        parts_of_cell(cell, tmp_path)
    with pytest.raises(BenchmarkError, match="cannot be read"):
        Division.load(tmp_path / "nowhere", division.digest)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["old", "young"] * 20)
    divided = divide(read(table), wanted=5, limits=Limits())
    made = schedule({"a": FAST}, [references("a")], seconds=60, jobs=2)
    state = State(
        reading=read(table), given={"data": "t.csv"}, minutes=3, names=("vime",), divided=divided, draws=5, scratch_parts=2,
        schedule=made, failed={"b": "no"}, spent=7.0,
    )  # fmt: skip
    state.write(tmp_path / "out")
    again = State.read(tmp_path / "out")
    assert again is not None
    assert again.divided.division.digest == divided.division.digest
    assert again.schedule == made
    assert (again.reading, again.names, again.failed, again.divided.notes) == (
        state.reading, state.names, state.failed, divided.notes,
    )  # fmt: skip


# --- which kind of data ---


def test_the_modality_of_folders_and_tables_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    for place in range(3):
        Image.new("RGB", (8, 8), (place, 0, 0)).save(tmp_path / "photos" / "cats" / f"{place}.png")
    assert guess_modality(str(tmp_path / "photos")) == ("vision", "3 files in it are")
    assert guess_modality(str(write_table(tmp_path / "t.csv", ["old"] * 9)))[0] == "tabular"
    (tmp_path / "lines.txt").write_text("\n".join(f"a line of some words and the number {place}" for place in range(9)))
    assert guess_modality(str(tmp_path / "lines.txt"))[0] == "text"
    reviews = ["text,stars", *(f"this film was a quite long story number {place},{place % 3}" for place in range(9))]
    (tmp_path / "reviews.csv").write_text("\n".join(reviews))
    assert guess_modality(str(tmp_path / "reviews.csv"), label="stars")[0] == "text"
    assert guess_modality("breast-cancer")[0] == "tabular"
    (tmp_path / "sounds" / "low").mkdir(parents=True)
    (tmp_path / "sounds" / "low" / "a.wav").write_bytes(b"RIFF")
    assert guess_modality(str(tmp_path / "sounds"))[0] == "audio"


def test_what_cannot_be_guessed_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The kind of data in .* cannot be guessed\. Set --modality to one of "):
        guess_modality(str(tmp_path / "nothing-there"))


# --- which tasks ---


def test_tasks_by_name_are_tried_though_no_benchmark_names_them() -> None:
    (spec,) = candidates(registry(), "vision", names=("barlow-twins",), device="cpu")
    usual = candidates(registry(), "vision", names=(), device="cpu")
    assert spec.task == "vision/barlow-twins"
    assert spec.overrides["processor.image_size"] == usual[0].overrides["processor.image_size"]
    with pytest.raises(UnknownIdError, match="vision has no task 'nope' that can be tried on own data; it has barlow-twins"):
        candidates(registry(), "vision", names=("nope",), device="cpu")
    with pytest.raises(UnknownIdError, match="supervised"):
        candidates(registry(), "vision", names=("supervised",), device="cpu")


def test_on_an_accelerator_networks_and_inputs_have_their_usual_size() -> None:
    small = candidates(registry(), "vision", names=("simclr",), device="cpu")[0].overrides
    usual = candidates(registry(), "vision", names=("simclr",), device="cuda")[0].overrides
    assert small["processor.image_size"] == 32
    assert "processor.image_size" not in usual
    assert not any(key.startswith("gpu.") for key in (*small, *usual))
    assert usual["optimization.batch_size"] > small["optimization.batch_size"]


def test_a_modality_without_candidates_gets_its_composed_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry()
    monkeypatch.setattr(found, "benchmarks", {})
    assert [spec.task for spec in candidates(found, "tabular", names=(), device="cpu")] == [
        "tabular/simclr", "tabular/vicreg", "tabular/byol",
    ]  # fmt: skip


def test_batches_are_no_larger_than_the_rows_fill() -> None:
    assert [filled(128, rows) for rows in (1000, 256, 255, 50, 5, 3)] == [128, 128, 64, 16, 2, 2]
    divided = Divided(
        division=Division(np.arange(0), np.arange(0), np.arange(0), ("", "", "")),
        rows=60, n_train=50, labels=24, n_labelled=12, n_test=12, label="kind", kind="class", classes=("a", "b"), per_class=4,
        metric="accuracy", tested_on="", notes=(),
    )  # fmt: skip
    specs = candidates(registry(), "vision", names=("simclr",), device="cpu")
    (spec,) = on_data(specs, "photos", divided, draws=3, scratch_steps=60, minutes=30)
    assert spec.overrides["optimization.batch_size"] == 16
    assert spec.overrides["supervised.optimization.batch_size"] == 4
    assert spec.overrides["evaluators.few-labels.per_class"] == [4, 2, 5]
    assert spec.headline == "few-labels.accuracy@4"


def test_training_from_scratch_takes_the_steps_that_a_benchmark_says_unless_it_is_cut(tmp_path: Path) -> None:
    divided = divide(read(write_table(tmp_path / "t.csv", ["old", "young"] * 40)), wanted=10, limits=Limits())
    (spec,) = candidates(registry(), "tabular", names=("vime",), device="cpu")
    longer = replace(spec, overrides={**spec.overrides, "scratch.min_steps": 400})
    steps = {}
    for asked in (200, 30):
        (whole,) = on_data([longer], "t", divided, draws=10, scratch_steps=asked, minutes=30)
        steps[asked] = (whole.overrides["scratch.min_steps"], whole.overrides.get("scratch.epochs"))
    assert steps == {200: (400, None), 30: (30, 1)}


# --- how long ---


def test_a_pilot_is_a_short_run_that_evaluates_little() -> None:
    overrides = {"optimization.batch_size": 50, "evaluators.linear.l2": 1.0, "evaluators.few-labels.per_class": [10, 2, 5]}
    cell = Cell(kind="task", modality="toy", task="toy/a", dataset="x", evaluators=("few-labels", "linear"), steps=900,
                overrides=overrides, seed=0)  # fmt: skip
    made = pilot_cell(cell)
    assert (made.steps, made.evaluators) == (STEPS, ("few-labels",))
    assert made.overrides == {
        "optimization.batch_size": 50, "log_every": 4, "probe_every": STEPS, "evaluators.few-labels.per_class": [10],
        "evaluators.few-labels.draws": 1,
    }  # fmt: skip
    record = Record(key="k", cell=made, status="done", samples_per_second=100.0,
                    seconds={"pretrain": 9.0, "evaluate": 1.0, "total": 12.0})  # fmt: skip
    speed = speed_of(record, 3.0, 1000)
    assert (speed.step, speed.epoch, speed.evaluate) == (0.5, 20.0, 3.0)
    assert speed.startup == pytest.approx(9 - STEPS * 0.5 + 2)


FAST, SLOW = Speed(startup=2, evaluate=3, step=0.01, epoch=20), Speed(startup=2, evaluate=3, step=0.04, epoch=20)


def references(*benchmarks: str, scratch: float = 10.0) -> References:
    return References(benchmarks, supervised=FAST, untrained=4.0, scratch=(scratch, scratch))


def test_each_task_trains_for_the_same_time_within_the_time_there_is() -> None:
    made = schedule({"a": FAST, "b": SLOW}, [references("a", "b")], seconds=200, jobs=2)
    assert made.rounds == 3
    assert not made.short
    assert 170 < made.seconds <= 200
    assert made.steps["a"] == pytest.approx(4 * made.steps["b"], abs=4)
    assert made.supervised["a"] == made.supervised["b"]


def test_short_times_take_seeds_and_then_tasks_away() -> None:
    tasks = {"a": SLOW, "b": SLOW, "c": SLOW}
    every = [references("a", "b", "c")]
    found = [schedule(tasks, every, seconds=seconds, jobs=2) for seconds in range(300, 10, -1)]
    enough = [(len(made.steps), made.rounds) for made in found if not made.short]
    several = [tasks for tasks, rounds in enough if rounds > 1]
    assert (enough[0], enough[-1]) == ((3, 3), (1, 1))
    assert several == sorted(several, reverse=True)
    assert {(3, 2), (2, 2), (1, 2)} <= set(enough)
    assert found[-1].short
    assert all(made.seconds <= seconds for made, seconds in zip(found, range(300, 10, -1), strict=True) if not made.short)
    assert list(schedule(tasks, every, seconds=1, jobs=2).steps) == ["a", "b"], "what comes first is kept"
    assert schedule(tasks, every, seconds=1, jobs=2).short


def test_more_time_than_a_task_can_use_is_not_used() -> None:
    made = schedule({"a": FAST}, [references("a")], seconds=1e6, jobs=2)
    assert made.steps["a"] == MOST_EPOCHS * FAST.epoch
    assert made.seconds < 1000
    tiny = schedule({"a": Speed(1, 1, 0.01, 0.1)}, [references("a")], seconds=1e6, jobs=1)
    assert tiny.steps["a"] == MOST_EPOCHS * 0.1 < ENOUGH_STEPS
    assert not tiny.short, "there is nothing more to learn from"


def test_training_from_scratch_may_take_the_first_draws_alone(tmp_path: Path, machine_of: Any) -> None:
    reading = read(write_table(tmp_path / "t.csv", ["old", "young"] * 40))
    divided = divide(reading, wanted=10, limits=Limits())
    specs = candidates(registry(), "tabular", names=("vime",), device="cpu")
    state = State(
        reading=reading, given={}, minutes=30, names=(), divided=divided, draws=10, scratch_parts=2, scratch_steps=200,
        scratch_draws=5, schedule=schedule({specs[0].id: FAST}, [references(specs[0].id)], seconds=100, jobs=2),
    )  # fmt: skip
    where = machine_of(lambda on_start: LocalExecutor(), jobs=2)
    few = "evaluators.few-labels."
    for seeds in ((0,), (0, 1, 2)):
        (line,) = Trial(state, specs, tmp_path, where).lines(seeds)
        taken = [
            place
            for cell in line.cells["scratch"]
            for place in range(
                cell.overrides[f"{few}first_draw"], cell.overrides[f"{few}first_draw"] + cell.overrides[f"{few}draws"]
            )
        ]
        assert taken == [0, 1, 2, 3, 4], "however many seeds there are"
        assert {cell.overrides[f"{few}draws"] for cell in line.cells["task"]} == {10}
        assert {cell.steps for cell in line.cells["supervised"]} == set(state.schedule.supervised.values())  # type: ignore[union-attr]
