from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from selfsup.errors import BenchmarkError, StorageError
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Labels, Record, RecordStore, read_json, write_json


def test_what_was_drawn_is_kept_and_missing_in_older_records(tmp_path: Path, records: dict[str, Record]) -> None:
    record = replace(next(iter(records.values())), labels={"10": Labels(drawn=20, pool=24, overlap=20 / 24)})
    store = RecordStore(tmp_path)
    path = store.write(record)
    assert store.read(record.key) == record
    values = read_json(path)
    del values["labels"]
    write_json(path, values)
    assert store.read(record.key) == replace(record, labels={})


def test_record_round_trip(tmp_path: Path, records: dict[str, Record]) -> None:
    store = RecordStore(tmp_path)
    for record in records.values():
        store.write(record)
    assert store.all() == records
    assert store.read("nothing") is None


def test_damaged_record_is_named(tmp_path: Path, records: dict[str, Record]) -> None:
    store = RecordStore(tmp_path)
    path = store.write(next(iter(records.values())))
    path.write_text(path.read_text()[:100])
    with pytest.raises(BenchmarkError, match=r"cannot be read.*--resume"):
        store.read(path.stem)


def test_numbers_that_json_does_not_have_survive(tmp_path: Path, records: dict[str, Record]) -> None:
    record = replace(
        next(iter(records.values())), metrics={"linear.map": math.nan}, draws={"a@1": (0.5, math.nan)}, curve=((0, math.inf),)
    )  # fmt: skip
    path = RecordStore(tmp_path).write(record)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    read = RecordStore(tmp_path).read(record.key)
    assert read is not None
    assert math.isnan(read.metrics["linear.map"])
    assert read.draws["a@1"][0] == 0.5
    assert math.isnan(read.draws["a@1"][1])
    assert math.isnan(read.curve[0][1])


def test_full_disk_leaves_no_half_record(tmp_path: Path, records: dict[str, Record], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    store = RecordStore(tmp_path)
    with pytest.raises(StorageError, match="the disk is full"):
        store.write(next(iter(records.values())))
    assert list(store.folder.iterdir()) == []


def test_plan_round_trip(tmp_path: Path, plan: Plan) -> None:
    plan.write(tmp_path)
    read = Plan.read(tmp_path)
    assert read.seeds == plan.seeds
    assert [read.key(cell) for cell in read.cells()] == [plan.key(cell) for cell in plan.cells()]
    assert [line.spec for line in read.lines] == [line.spec for line in plan.lines]


def test_folder_without_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="holds no benchmark"):
        Plan.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 99}', r"schema 99, and this selfsup-bench reads schemas up to 2. Upgrade it"),
        ('{"schema": 1}', r"benchmark\.json is no plan of schema 2: the field 'suite' is missing. Run the benchmark again"),
        ('{"suite": "quick"}', "its field 'schema' is None, and no version"),
        ("[]", "no JSON object"),
    ],
)
def test_damaged_plan(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "benchmark.json").write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        Plan.read(tmp_path)


def test_plan_without_the_key_of_a_cell(tmp_path: Path, plan: Plan) -> None:
    replace(plan, keys=dict(list(plan.keys.items())[1:])).write(tmp_path)
    with pytest.raises(BenchmarkError, match=r"is damaged: it has no key for the cell 'toy/"):
        Plan.read(tmp_path)
