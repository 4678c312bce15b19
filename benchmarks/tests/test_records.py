from __future__ import annotations

from pathlib import Path

import pytest

from selfsup.errors import BenchmarkError, StorageError
from selfsup_bench import records as records_module
from selfsup_bench.plan import Plan
from selfsup_bench.records import Record, RecordStore


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


def test_record_of_another_schema_is_refused(tmp_path: Path, records: dict[str, Record]) -> None:
    values = next(iter(records.values())).as_dict()
    with pytest.raises(BenchmarkError, match="schema 99"):
        Record.from_dict({**values, "schema": 99})


def test_full_disk_leaves_no_half_record(tmp_path: Path, records: dict[str, Record], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records_module.os, "fsync", full)
    store = RecordStore(tmp_path)
    with pytest.raises(StorageError, match="No space left on device"):
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
    ("text", "message"), [('{"schema": 99}', "schema 99"), ('{"schema": 1}', "damaged"), ("[]", "no JSON object")]
)
def test_damaged_plan(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "benchmark.json").write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        Plan.read(tmp_path)
