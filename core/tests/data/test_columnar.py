"""Processing whole tables of rows at once, and reading small samples from memory."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from selfsup.config import Config
from selfsup.data import Processor, Rows, Store, prepare
from selfsup.data.samples import EncodedTable
from selfsup.data.store import format as store_module
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import BadRowError, DataError
from selfsup.runtime.threads import in_order


class ByRow(Processor):
    """A row is a number; negative ones are bad."""

    modality = "numbers"
    columnar = True

    def __init__(self) -> None:
        super().__init__(Config())

    def fit(self, rows):
        return self

    def info(self):
        return {}

    def encode(self, row):
        if row["x"] < 0:
            raise BadRowError(f"{row['x']} is negative")
        return {"x": np.asarray([row["x"]]), "half": np.asarray(row["x"] / 2)}

    def save(self, directory):
        (directory / "numbers.json").write_text(json.dumps(type(self).__name__))

    @classmethod
    def load(cls, directory):
        return cls()


class ByTable(ByRow):
    """The same, by columns; it must never see a single row."""

    def encode(self, row):
        raise AssertionError("a single row was processed")

    def encode_table(self, table):
        x = table.column("x").to_numpy()
        bad = {int(place): f"{x[place]} is negative" for place in np.flatnonzero(x < 0)}
        return EncodedTable({"x": x[:, None], "half": x / 2}, bad)


def numbers(values: list[int]) -> Rows:
    dataset = datasets.Dataset.from_dict({"number": values, "other": values})
    return Rows(dataset=dataset, columns={"x": "number"}, fingerprint=f"{len(values)}", name="some numbers")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


def test_tables_are_the_rows_by_role():
    rows = numbers(list(range(70_000)))
    parts = list(rows.tables())
    assert [start for start, _ in parts] == [0, 65_536]
    assert [table.column_names for _, table in parts] == [["x"], ["x"]]
    assert parts[1][1].column("x").to_pylist() == list(range(65_536, 70_000))
    chosen = rows.select([3, 1])
    assert [table.column("x").to_pylist() for _, table in chosen.tables()] == [[3, 1]]


@pytest.mark.parametrize("kind", [ByRow, ByTable])
def test_a_table_goes_into_the_store_without_its_bad_rows(kind):
    values = [-1, *range(999), -5]
    store = prepare(numbers(values), kind(), max_bad_rows=0.01)
    assert store.bad_rows == [(0, "row 0: -1 is negative"), (1000, "row 1000: -5 is negative")]
    assert store.kept.tolist() == list(range(1, 1000))
    read = store.read([0, 998])
    assert read["x"].tolist() == [[0], [998]]
    assert read["half"].tolist() == [0, 499]


def test_many_samples_at_once_are_those_one_by_one(tmp_path):
    values = {"a": np.arange(12, dtype=np.float32).reshape(4, 3), "b": np.arange(4)}
    stores = []
    for name, parts in {"one": [[0], [1], [2], [3]], "all": [[0, 1, 2, 3]], "none": [[], [0, 1], [2, 3], []]}.items():
        (tmp_path / name).mkdir()
        writer = StoreWriter(tmp_path / name)
        for part in parts:
            writer.add_many(np.asarray(part, dtype=np.int64) + 7, {key: value[part] for key, value in values.items()})
        assert len(writer) == 4
        writer.finish(source_rows=9, bad_rows=[], fingerprint="f", processor="p")
        stores.append(Store(tmp_path / name))
    for store in stores:
        assert store.kept.tolist() == [7, 8, 9, 10]
        assert torch.equal(store.read(range(4))["a"], torch.from_numpy(values["a"]))
        assert store.read([2])["b"].tolist() == [2]


def test_lengths_may_differ_from_one_table_to_the_next(tmp_path):
    writer = StoreWriter(tmp_path)
    writer.add_many(np.arange(2), {"a": np.zeros((2, 3), dtype=np.int64)})
    writer.add_many(np.arange(2, 4), {"a": np.ones((2, 5), dtype=np.int64)})
    writer.finish(source_rows=4, bad_rows=[], fingerprint="f", processor="p")
    store = Store(tmp_path)
    assert store.lengths("a").tolist() == [3, 3, 5, 5]
    assert [item.tolist() for item in store.read([3, 0])["a"]] == [[1] * 5, [0] * 3]


def test_samples_of_another_type_are_refused(tmp_path):
    writer = StoreWriter(tmp_path)
    writer.add_many(np.arange(2), {"a": np.zeros((2, 3, 4))})
    with pytest.raises(DataError, match=r"'a' as float64 \[3, 5\] for row 2; the first row has float64 \[..., 4\]"):
        writer.add_many(np.arange(2, 4), {"a": np.zeros((2, 3, 5))})
    writer.close()


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_small_samples_read_from_memory_are_those_of_the_disk(limit, monkeypatch):
    monkeypatch.setattr(store_module, "_RESIDENT_BYTES", limit)
    store = prepare(numbers(list(range(1000))), ByTable())
    order = np.random.default_rng(0).permutation(1000)
    assert store.read(order)["x"].flatten().tolist() == order.tolist()
    (Path(store.path) / "0.values").write_bytes(b"")  # what is kept in memory needs the file no more
    if limit:
        assert store.read([5])["x"].tolist() == [[5]]
    else:
        with pytest.raises(Exception, match="ends too early"):
            store.read([5])


def test_work_comes_back_in_order_and_few_parts_wait():
    taken: list[int] = []

    def parts():
        for number in range(50):
            taken.append(number)
            yield number

    results = in_order(lambda number: number * number, parts(), 2)
    assert next(results) == 0
    assert len(taken) <= 6
    assert list(results) == [number * number for number in range(1, 50)]
