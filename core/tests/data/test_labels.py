"""What a label column holds, and how each row's label is read."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, List, Value

from selfsup.data import Rows, load_source
from selfsup.data.sources.columns.labels import LabelReader, has_label, standard_scale, strata
from selfsup.errors import ColumnError, DataError
from selfsup.registry.specs import ModalitySpec

TEXTS = ModalitySpec(
    id="texts",
    summary="Texts.",
    target="a:b",
    backbone="none",
    columns={"text": "string"},
)


def dataset(labels, feature=None):
    made = Dataset(pa.table({"x": list(range(len(labels))), "kind": pa.array(labels)}))
    return made if feature is None else made.cast_column("kind", feature)


def find(labels, feature=None, **told):
    return LabelReader.find(dataset(labels, feature), "kind", **told)


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (["b", "a", None, " "], "class", ("a", "b")),
        ([True, False], "class", ("False", "True")),
        ([0.0, 1.0, float("nan")], "class", ("0", "1")),
        ([10, 9, 10], "class", ("9", "10")),
        ([0.5, 1.0], "number", ()),
        ([Decimal("1.50"), Decimal("2.00")], "number", ()),
        (["0.5", "1"], "number", ()),
        (["1", "2", "10"], "class", ("1", "10", "2")),
        (["1", "2", "NA", "-"], "class", ("1", "2")),
        (["NA", "a"], "class", ("NA", "a")),
        (["$1,000.50", "$20", "?"], "number", ()),
        (list(range(1000, 4000, 7)), "number", ()),
        ([float(i) for i in range(1000, 4000, 7)], "number", ()),
        (list(range(60)) * 2, "class", None),
        (list(range(17, 77)), "number", ()),
        (list(range(300)) * 5, "class", None),
        ([i * i for i in range(300)] * 5, "number", ()),
        ([["a", "b"], [], None, ["b"]], "classes", ("a", "b")),
        ([[2, 10], [2]], "classes", ("2", "10")),
        ([[0, 1, 1], [1, 0, 0]], "classes", ("0", "1", "2")),
        ([[0.0, 1.0], [1.0, 1.0]], "classes", ("0", "1")),
        (['["b", "a"]', "['c']", None], "classes", ("a", "b", "c")),
    ],
)
def test_the_kind_is_found_by_what_the_column_holds(labels, kind, names):
    reader = find(labels)
    assert reader.kind == kind
    if names is not None:
        assert reader.names == names


@pytest.mark.parametrize(
    ("labels", "told", "read"),
    [
        ([0.0, 1.0, None], {}, [0, 1, -1]),
        ([-1, 0, 4], {"unlabelled": ("-1",)}, [-1, 0, 1]),
        ([255.0, 0.0, 4.0], {"unlabelled": ("255",)}, [-1, 0, 1]),
        (["?", "a", ""], {"unlabelled": ("?",)}, [-1, 0, -1]),
        ([1.5, None, 2.0], {}, [1.5, np.nan, 2.0]),
        ([1.5, -999.0], {"unlabelled": ("-999",)}, [1.5, np.nan]),
        (["1.5", "lost"], {"kind": "number", "unlabelled": ("lost",)}, [1.5, np.nan]),
        (["1.5", "n/a", "$1,000"], {}, [1.5, np.nan, 1000.0]),
        (["1,25", "2,5"], {}, [1.25, 2.5]),
        ([1, 2], {"kind": "number"}, [1.0, 2.0]),
        ([1.5, 2.0], {"kind": "class"}, [0, 1]),
        ([["a"], ["b", "a"], [], None], {}, [[1, 0], [1, 1], [0, 0], [-1, -1]]),
        ([["a"], ["?"], ["b", "?"]], {"unlabelled": ("?",)}, [[1, 0], [-1, -1], [0, 1]]),
        (["a|b", "b", None], {"kind": "classes"}, [[1, 1], [0, 1], [-1, -1]]),
        (["a; b", " b"], {"kind": "classes"}, [[1, 1], [0, 1]]),
        (["a,b", "b"], {"kind": "classes"}, [[1, 1], [0, 1]]),
        ([[0, 1], [1, 1]], {}, [[0, 1], [1, 1]]),
        ([[0.0, 1.0], None], {}, [[0, 1], [-1, -1]]),
    ],
)
def test_labels_are_read(labels, told, read):
    made = dataset(labels)
    found = LabelReader.find(made, "kind", **told).read(made)
    np.testing.assert_array_equal(found, np.array(read))
    wanted = np.array(read, dtype=float).reshape(len(read), -1)
    assert has_label(found).tolist() == [not (row < 0).any() and not np.isnan(row).any() for row in wanted]


def test_class_labels_and_lists_of_them_keep_their_names():
    reader = find([0, 1, -1], ClassLabel(names=["dog", "cat"]))
    assert (reader.kind, reader.names) == ("class", ("dog", "cat"))
    assert reader.read(dataset([1, -1], ClassLabel(names=["dog", "cat"]))).tolist() == [1, -1]
    made = dataset([[0, 1], []], List(ClassLabel(names=["dog", "cat"])))
    reader = LabelReader.find(made, "kind")
    assert (reader.kind, reader.names, reader.read(made).tolist()) == ("classes", ("dog", "cat"), [[1, 1], [0, 0]])
    folder = find([0, 1], ClassLabel(names=["cat", "unlabelled"]), unlabelled=("unlabelled",))
    assert folder.names == ("cat",)


def test_one_class_has_one_name_as_integer_float_text_or_truth():
    reader = find([0, 1, 2])
    for same in ([1, 2], [1.0, 2.0], ["1", "2"], [Decimal(1), Decimal(2)]):
        assert reader.read(dataset(same)).tolist() == [1, 2]
    long = find([2**60, 2**60 + 1])
    assert long.names == (str(2**60), str(2**60 + 1)), "no rounding to a float in between"


def test_what_is_no_label_is_refused():
    with pytest.raises(ColumnError, match=r"of type date32.*labels are texts, numbers.*--label"):
        find([datetime.date(2024, 1, 1)])
    with pytest.raises(ColumnError, match=r"lists of float64 that are not all zeros and ones.*several numbers a row"):
        find([[0.5]])
    with pytest.raises(ColumnError, match="holds no label"):
        find([None, None])
    with pytest.raises(ColumnError, match="holds no label"):
        find([float("nan")])
    with pytest.raises(ColumnError, match=r"120 different texts in 120 rows.*--label-kind class"):
        find([f"word {i}" for i in range(120)])
    assert find([f"word {i}" for i in range(120)], kind="class").kind == "class"
    with pytest.raises(ColumnError, match=r"numbers except for 'lost'.*--label-kind number --unlabelled 'lost'"):
        find([*(f"{i}.5" for i in range(40)), "lost"])
    with pytest.raises(ColumnError, match=r"'x' of row 1.*is no number"):
        find(["1", "x"], kind="number").read(dataset(["1", "x"]))
    with pytest.raises(ColumnError, match="holds lists"):
        find([["a"]], kind="number")
    with pytest.raises(ColumnError, match="lists of 2 zeros"):
        find([[0, 1], [1, 1]]).read(dataset([[0, 1, 1]]))


def test_what_was_found_is_said_with_what_else_it_could_be():
    assert find(["a", "b"]).describe() == "2 classes (a, b)"
    assert "--label-kind number" in find(list(range(15))).describe()
    assert "300 different whole numbers; for classes, add --label-kind class" in find([i * i for i in range(300)]).describe()
    assert "--label-kind classes splits texts at '|'" in find(["a|b", "a", "b", "b|a"]).describe()
    assert "If -1 means that there is no label, add --unlabelled -1" in find([-1, 0, 1]).describe()
    assert "If" not in find([-1, 1]).describe(), "-1 and 1 are two classes"
    assert "No row has the label '7' (--unlabelled)" in find([0, 1], unlabelled=("7",)).describe()
    assert find([["a"]]).describe() == "1 class (a), several a row"
    assert find(["0.5", "NA"]).describe() == "numbers. 'NA' means that there is no label"
    assert find([0.5, 1.5]).describe() == "numbers"


def test_csv_labels_with_gaps_are_left_out_and_counted(tmp_path):
    (tmp_path / "t.csv").write_text("text,kind\none,0\ntwo,1\nthree,\nfour,1\n")
    rows = load_source(tmp_path / "t.csv", modality=TEXTS, label="kind")
    said: list[str] = []
    known = rows.labelled(said.append)
    assert (known.class_names, known.labels().tolist(), len(known)) == (("0", "1"), [0, 1, 1], 3)
    assert said == [f"1 of the 4 rows of {rows.name} have no label and are left out."]
    assert [row["text"] for row in known] == ["one", "two", "four"]
    told = load_source(tmp_path / "t.csv", modality=TEXTS, label="kind", unlabelled=("0",))
    assert told.labelled().labels().tolist() == [0, 0]
    with pytest.raises(DataError, match="None of the 4 rows"):
        load_source(tmp_path / "t.csv", modality=TEXTS, label="kind").read_by(
            LabelReader("kind", "class", ("2",), unlabelled=("0", "1"))
        ).labelled()


def test_a_selection_is_numbered_by_all_rows_and_needs_no_readable_label():
    rows = Rows(dataset=dataset([["b"], ["a"], ["c"]]), columns={"x": "x"}, label="kind")
    assert rows.select([2, 0]).labels().tolist() == [[0, 0, 1], [0, 1, 0]]
    dates = Rows(dataset=dataset([datetime.date(2024, 1, 1)] * 3), columns={"x": "x"}, label="kind")
    assert len(dates.select([0, 1])) == 2, "nobody asked for the labels"


def test_numbers_are_split_by_their_size():
    numbers = np.arange(200) ** 2.0
    rows = Rows(dataset=dataset((numbers + 0.5).tolist()), columns={"x": "x"}, label="kind")
    rest, part = rows.split_off(0.2, seed=0)
    assert (len(rest), len(part)) == (160, 40)
    tenth = strata(rows.labels())[np.array([row["x"] for row in part])]
    assert np.bincount(tenth).tolist() == [4] * 10
    assert strata(np.array([1.0, 2.0])).tolist() == [0, 0]
    assert strata(np.full(50, 3.0)).max() == strata(np.full(50, 3.0)).min(), "equal numbers stay together"
    assert standard_scale(np.array([2.0, 2.0])) == (2.0, 1.0)
    lists = Rows(dataset=dataset([["a"], ["b"]] * 10), columns={"x": "x"}, label="kind")
    assert [len(side) for side in lists.split_off(0.2, seed=0)] == [16, 4]


def test_labels_of_datasets_features_of_one_value_are_lists_too():
    made = dataset([["a"], ["b", "c"]], List(Value("string")))
    assert LabelReader.find(made, "kind").names == ("a", "b", "c")
