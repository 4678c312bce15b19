"""The hash of a row follows from what the row holds, and from nothing else."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from selfsup.data import Rows, cache_in, hold_out, row_hashes
from selfsup.data.store.content_hash import hashes_of, held_out
from selfsup.errors import ConfigError, DataError


def rows_of(table, roles=None, **options):
    table = pa.table(table)
    roles = roles or [name for name in table.column_names if name != options.get("label")]
    return Rows(dataset=Dataset(table), columns={role: role for role in roles}, name="toy", **options)


TABLE = {"age": [1, 2, None, 4], "job": ["a", "b", None, "a"], "day": [datetime.date(2020, 1, day) for day in (1, 2, 3, 4)]}


def test_order_of_rows_and_columns_labels_and_types_make_no_difference():
    hashes = row_hashes(rows_of(TABLE))
    assert len(set(hashes.tolist())) == 4
    turned = {name: values[::-1] for name, values in reversed(TABLE.items())}
    assert row_hashes(rows_of(turned)).tolist() == hashes[::-1].tolist()
    labelled = rows_of({"kind": ["x", "y", "x", "y"], **TABLE}, label="kind")
    assert row_hashes(labelled).tolist() == hashes.tolist()
    floats = {**TABLE, "age": [1.0, 2.0, float("nan"), 4.0], "job": pa.array(TABLE["job"]).dictionary_encode()}
    floats["day"] = pa.array(TABLE["day"]).cast(pa.timestamp("ns"))
    assert row_hashes(rows_of(floats)).tolist() == hashes.tolist()
    assert hashes_of(pa.table(TABLE).to_pylist()).tolist() == hashes.tolist()


def test_each_cell_counts_and_stands_in_its_column():
    base = row_hashes(rows_of({"a": ["x"], "b": ["y"], "c": [0.0]}))[0]
    for other in (
        {"a": ["y"], "b": ["x"], "c": [0.0]},
        {"a": ["x"], "b": ["y"], "c": [1e-9]},
        {"a": [None], "b": ["y"], "c": [0.0]},
    ):
        assert row_hashes(rows_of(other))[0] != base
    assert row_hashes(rows_of({"a": ["x"], "b": ["y"], "c": [-0.0]}))[0] == base


def test_files_count_by_their_bytes_wherever_they_lie(tmp_path):
    def media(values, **options):
        features = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        return rows_of({"image": pa.array(values, features)}, media=frozenset({"image"}), **options)

    (tmp_path / "frames").mkdir()
    for name, content in (("one.png", b"one"), ("other.png", b"one"), ("two.png", b"two"), ("frames/0.png", b"one")):
        (tmp_path / name).write_bytes(content)
    names = ["one.png", "other.png", "two.png", "frames"]
    by_path = row_hashes(media([{"bytes": None, "path": name} for name in names], root=tmp_path))
    assert by_path[0] == by_path[1] == by_path[3] != by_path[2]
    assert row_hashes(media([{"bytes": b"one", "path": "elsewhere"}]))[0] == by_path[0]


@pytest.mark.parametrize(
    "values",
    [[[1, 2], [1, 3]], [[[1, 2]], [[3]]], [{"array": [0.5], "sampling_rate": 2}, {"array": [1.0], "sampling_rate": 2}]],
)
def test_arrays_and_structures_have_hashes(values):
    first = row_hashes(rows_of({"x": values}))
    assert first[0] != first[1]
    assert row_hashes(rows_of({"x": values[::-1]})).tolist() == first[::-1].tolist()


@pytest.mark.parametrize(
    "values",
    [["a", 5, None, 2.5], [1, "b"], [True, 1, "x"], ["a", {"b": 1}], [2**70, 1], [10**400, 1], ["\ud800", "a"], ["a", [1.0]]],
)
def test_rows_whose_values_are_of_several_types_have_the_hashes_that_they_have_alone(values):
    together = hashes_of([{"x": value} for value in values])
    assert together.tolist() == [hashes_of([{"x": value}])[0] for value in values]
    assert together[0] != together[-1]


def test_hashes_are_kept_by_the_fingerprint(tmp_path, monkeypatch):
    with cache_in(tmp_path):
        first = row_hashes(rows_of(TABLE, fingerprint="f"))
        monkeypatch.setattr("selfsup.data.store.content_hash.hashes_of", None)
        known = row_hashes(rows_of(TABLE, fingerprint="f"))
        assert known.tolist() == first.tolist()
        assert isinstance(known.base, np.memmap)
        with pytest.raises(TypeError):
            row_hashes(rows_of(TABLE, fingerprint="other"))


def test_a_row_is_on_the_same_side_in_every_source():
    numbers = np.arange(5000)
    rows = rows_of({"x": numbers, "y": numbers % 7})
    rest, part = hold_out(rows, 0.2)
    assert len(part) == pytest.approx(1000, abs=90)
    assert len(rest) + len(part) == 5000
    wanted = {row["x"] for row in part}
    order = np.random.default_rng(0).permutation(5000)
    turned = rows_of({"y": (numbers % 7)[order].astype(float), "x": numbers[order].astype(float)})
    assert {row["x"] for row in hold_out(turned, 0.2)[1]} == wanted
    assert {row["x"] for row in hold_out(rows, 0.1)[1]} < wanted
    assert not held_out(row_hashes(rows), 0).any()


def test_rows_that_are_alike_are_on_one_side():
    rows = rows_of({"x": np.arange(1000) % 50})
    rest, part = hold_out(rows, 0.3)
    assert not {row["x"] for row in rest} & {row["x"] for row in part}
    rest, part = rows.split_off(0.2, seed=0, kinds=row_hashes(rows))
    assert not {row["x"] for row in rest} & {row["x"] for row in part}
    assert len(part) == 200
    with pytest.raises(DataError, match="its 3 rows are equal"):
        rows_of({"x": [1, 1, 1]}).split_off(0.5, seed=0, kinds=np.zeros(3, np.uint64))


def test_shares_that_part_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"holdout=1 is not allowed.*at least 0 and below 1"):
        hold_out(rows_of(TABLE), 1)
    with pytest.raises(DataError, match=r"holdout=1e-09 holds out none of the 4 rows of toy"):
        hold_out(rows_of(TABLE), 1e-9)
    with pytest.raises(DataError, match=r"holds out all of the 1 rows"):
        hold_out(rows_of({"x": [1]}), 0.999999999)
