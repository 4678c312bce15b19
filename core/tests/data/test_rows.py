"""Rows: roles without labels, class ids, selections and splits."""

from __future__ import annotations

import itertools

import datasets
import numpy as np
import pytest

from selfsup.data import Rows, spread_rows
from selfsup.data.sources.columns.labels import LabelReader
from selfsup.errors import ColumnError, DataError


def rows_of(labels: list, **options) -> Rows:
    data = datasets.Dataset.from_dict({"x": list(range(len(labels))), "kind": labels})
    return Rows(dataset=data, columns={"x": "x"}, label="kind", fingerprint="f", name="toy", **options)


def test_test_labels_are_numbered_by_the_training_classes():
    train, test = rows_of(["b", "c", "a"]), rows_of(["c", "b"])
    assert test.read_by(train.label_reader).labels().tolist() == [2, 1]
    assert test.labels().tolist() == [1, 0], "left alone, they are numbered by their own"


def test_class_label_ids_are_mapped_by_name():
    test = rows_of([0, 1])
    test = Rows(
        dataset=test.dataset.cast_column("kind", datasets.ClassLabel(names=["dog", "cat"])), columns={"x": "x"}, label="kind"
    )
    assert test.read_by(LabelReader("kind", "class", ("cat", "dog"))).labels().tolist() == [1, 0]


def test_unknown_class_is_named():
    with pytest.raises(ColumnError, match=r"Class 'z' \(label column 'kind', row 1\) is not among the known classes: a, b"):
        rows_of(["a", "z"]).read_by(LabelReader("kind", "class", ("a", "b"))).labels()


def test_row_without_a_label_is_named():
    with pytest.raises(ColumnError, match="Row 1 has no label in column 'kind'"):
        rows_of(["a", None]).labels()
    hidden = rows_of([0, -1]).dataset.cast_column("kind", datasets.ClassLabel(names=["a"]))
    with pytest.raises(ColumnError, match="Row 1 has no label"):
        Rows(dataset=hidden, columns={"x": "x"}, label="kind").labels()


def test_rows_without_a_label_column():
    rows = rows_of(["a", "b"]).without_labels()
    assert rows.class_names == ()
    assert "kind" not in rows.dataset.column_names
    with pytest.raises(ColumnError, match=r"toy has no label column\. Its columns are x"):
        rows.labels()


def test_select_keeps_order_and_class_ids():
    rows = rows_of(["b", "c", "a"])
    part = rows.select([2, 0])
    assert [row["x"] for row in part] == [2, 0]
    assert part.class_names == ("a", "b", "c")
    assert part.labels().tolist() == [0, 1]
    assert len({rows.fingerprint, part.fingerprint, rows.select([0, 2]).fingerprint}) == 3
    with pytest.raises(DataError, match="There is no row 3: toy has 3 rows"):
        rows.select([3])


def test_rows_of_a_selection_are_called_by_their_number_in_the_source():
    part = rows_of(["a", "b", "a", "b"]).select([3, 1, 2])
    assert [part.describe(place) for place in range(3)] == ["row 3", "row 1", "row 2"]
    assert part.select([2, 0]).describe(1) == "row 3"


def test_split_off_is_stratified_and_complete():
    rows = rows_of(["a"] * 90 + ["b"] * 10)
    rest, part = rows.split_off(0.2, seed=3)
    assert np.bincount(part.labels()).tolist() == [18, 2]
    assert sorted(row["x"] for side in (rest, part) for row in side) == list(range(100))
    again = rows.split_off(0.2, seed=3)[1]
    assert [row["x"] for row in again] == [row["x"] for row in part]
    assert [row["x"] for row in rows.split_off(0.2, seed=4)[1]] != [row["x"] for row in part]


def test_split_off_leaves_a_single_row_of_a_class_where_it_is():
    rest, part = rows_of(["a"] * 4 + ["b"]).split_off(0.5, seed=0)
    assert 4 in [row["x"] for row in rest]
    assert len(part) == 2


def test_split_off_without_labels_and_of_too_little():
    rest, part = rows_of(["a"] * 10).without_labels().split_off(0.3, seed=0)
    assert (len(rest), len(part)) == (7, 3)
    with pytest.raises(DataError, match="it has 1 row"):
        rows_of(["a"]).split_off(0.5, seed=0)
    with pytest.raises(DataError, match=r"fraction of 1\.5"):
        rows_of(["a", "b"]).split_off(1.5, seed=0)


def test_large_rows_are_read_in_small_pieces():
    big = datasets.Dataset.from_dict({"x": [b"\0" * (3 << 20)] * 7})
    rows = Rows(dataset=big, columns={"x": "x"})
    pieces = [(start, len(chunk)) for start, chunk in rows.chunks()]
    assert pieces == [(0, 2), (2, 2), (4, 2), (6, 1)]


@pytest.mark.parametrize("kind", ["rows", "list"])
def test_a_sample_of_rows_is_spread_over_all_of_them(kind):
    values = [{"x": number} for number in range(1000)]
    source = values if kind == "list" else Rows(dataset=datasets.Dataset.from_list(values), columns={"x": "x"})
    drawn = [row["x"] for row in spread_rows(source, 20)]
    assert [number // 50 for number in drawn] == list(range(20)), "one of each twentieth"
    assert drawn == [row["x"] for row in spread_rows(source, 20)]
    assert len({number % 50 for number in drawn}) > 5, "rows that repeat in a pattern are not missed"
    assert [row["x"] for row in spread_rows(source, 2000)] == list(range(1000))


def test_of_a_stream_the_first_rows_are_the_sample():
    endless = ({"x": number} for number in itertools.count())
    assert [row["x"] for row in spread_rows(endless, 3)] == [0, 1, 2]
    assert list(spread_rows([], 3)) == []
