"""Tables in memory as sources: pandas, polars, Arrow, and lists of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from selfsup.data import load_source
from selfsup.data.sources.dataframes import arrow_table, is_frame, table_of_rows
from selfsup.errors import ColumnError, SourceError
from selfsup.registry.specs import ModalitySpec

TABLES = ModalitySpec(id="tables", summary="Tables.", target="a:b", backbone="none")


def test_a_pandas_frame_has_plain_columns_without_its_index():
    frame = pd.DataFrame(
        {
            "text": ["a", None],
            1: [1, 2],
            "mixed": [1, "b"],
            "kind": pd.Categorical(["u", "v"]),
            "whole": pd.array([1, None], dtype="Int64"),
            "real": [np.nan, 1.5],
            "yes": [True, None],
        },
        index=[7, 8],
    )
    table = arrow_table(frame)
    assert table.to_pylist() == [
        {"text": "a", "1": 1, "mixed": "1", "kind": "u", "whole": 1, "real": None, "yes": True},
        {"text": None, "1": 2, "mixed": "b", "kind": "v", "whole": None, "real": 1.5, "yes": None},
    ]
    assert str(table.schema.field("kind").type) in ("string", "large_string")


def test_a_polars_frame_has_plain_columns():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"text": ["a", "b"], "kind": pl.Series(["u", None], dtype=pl.Categorical)})
    table = arrow_table(frame)
    assert table.to_pylist() == [{"text": "a", "kind": "u"}, {"text": "b", "kind": None}]
    assert {str(field.type) for field in table.schema} == {"large_string"}


def test_arrow_tables_and_batches_are_frames():
    table = pa.table({"x": [1]})
    assert arrow_table(table).to_pylist() == arrow_table(pa.record_batch({"x": [1]})).to_pylist() == [{"x": 1}]
    assert is_frame(table)
    assert not is_frame([{"x": 1}])


def test_two_columns_of_one_name_are_an_error():
    with pytest.raises(ColumnError, match="Two columns of the table have one name: 1"):
        arrow_table(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_rows_become_a_table_of_all_their_columns():
    rows = [{"a": 1, "b": "x"}, {"b": float("nan"), "a": 2.5}, {"c": [1]}]
    assert table_of_rows(rows).to_pylist() == [
        {"a": 1.0, "b": "x", "c": None},
        {"a": 2.5, "b": None, "c": None},
        {"a": None, "b": None, "c": [1]},
    ]
    assert table_of_rows([{"a": 1}, {"a": "x"}, {"a": None}]).column("a").to_pylist() == ["1", "x", None]


def test_a_frame_is_a_source_known_by_its_content():
    frame = pd.DataFrame({"x": [1, 2], "label": ["p", "q"]})
    rows = load_source(frame, modality=TABLES)
    assert (rows.class_names, list(rows)) == (("p", "q"), [{"x": 1}, {"x": 2}])
    assert load_source(frame.copy(), modality=TABLES).fingerprint == rows.fingerprint
    other = load_source(pd.DataFrame({"x": [1, 3], "label": ["p", "q"]}), modality=TABLES)
    assert other.fingerprint != rows.fingerprint


@pytest.mark.parametrize(("source", "message"), [
    (3, "an array, a list or a generator, not int: for tables give a DataFrame"),
    (pd.DataFrame({"x": []}), "holds no row"),
])  # fmt: skip
def test_what_is_no_table_or_an_empty_one_is_refused(source, message):
    with pytest.raises(SourceError, match=message):
        load_source(source, modality=TABLES)
