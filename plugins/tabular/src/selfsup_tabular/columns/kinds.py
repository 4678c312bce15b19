"""Of what kind each column of a table is: numbers, categories, dates, or of no use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from selfsup.data import Rows
from selfsup.errors import ColumnError
from selfsup_tabular.columns.values import as_day, as_number, distinct_texts, is_date, is_number, is_text

Kind = Literal["numeric", "category", "date", "dropped"]

MANY_CODES = 100
"""Texts that are whole numbers are codes of categories up to so many distinct ones, and numbers beyond."""
_NAMES_OF_ROWS = 0.5
"""A text column whose distinct values are more than this share of its rows names the rows (an id, a sentence)."""
_FEW_ROWS = 100
"""Below so many rows nothing can be said of that."""


class Found(NamedTuple):
    """What a column is taken for."""

    kind: Kind
    reason: str = ""
    """Why it is dropped."""


def class_columns(rows: Any, names: Collection[str]) -> dict[str, Kind]:
    """Columns of ``datasets``' ``ClassLabel`` type: their whole numbers are codes, however many there are.

    Args:
        rows: :class:`~selfsup.data.Rows`, whose data set tells the types; of anything else none is known.
        names: columns that are there.
    """
    if not isinstance(rows, Rows):
        return {}
    features = rows.dataset.features
    kinds = {role: type(features[column]).__name__ for role, column in rows.columns.items()}
    return {role: "category" for role, kind in kinds.items() if kind == "ClassLabel" and role in names}


def find_kinds(table: pa.Table, wanted: Mapping[str, Kind], markers: Collection[str]) -> dict[str, Found]:
    """The kind of every column, in the table's order.

    Args:
        table: training rows, with dictionaries decoded.
        wanted: column to kind, as the user said; goes before what is found.
        markers: texts that stand for a missing value.

    Raises:
        ColumnError: a column that the user named is not there.
    """
    for name in wanted:
        if name not in table.column_names:
            columns = ", ".join(table.column_names)
            raise ColumnError(f"There is no column {name!r} to take as {wanted[name]}. The columns are {columns}.")
    found = {}
    for name in table.column_names:
        kind = wanted.get(name)
        column = table.column(name)
        if kind == "dropped":
            found[name] = Found("dropped", "as told")
        elif column.null_count == len(column):
            found[name] = Found("dropped", "it holds no value")
        elif kind is not None:
            found[name] = Found(kind)
        else:
            found[name] = find_kind(column, markers)
    return found


def find_kind(column: pa.ChunkedArray, markers: Collection[str]) -> Found:
    """The kind of one column, by its type, and for texts by its values.

    Numbers are numeric, booleans are categories, dates and timestamps are dates. Texts are dates or numbers where all of them
    are such (whole numbers are taken for codes of categories up to :data:`MANY_CODES` distinct ones), else categories, unless
    nearly every row has its own.
    """
    kind = column.type
    if is_date(kind):
        return Found("date")
    if is_number(kind):
        values = pc.drop_null(column.cast(pa.float64(), safe=False)) if pa.types.is_floating(kind) else None
        if values is not None and pc.all(pc.is_nan(values)).as_py():
            return Found("dropped", "it holds no value")
        return Found("numeric")
    if pa.types.is_boolean(kind):
        return Found("category")
    if not is_text(kind):
        return Found("dropped", f"it holds {kind}")
    texts = distinct_texts(column, markers)
    if not texts:
        return Found("dropped", "it holds no value")
    if all(as_day(text) is not None for text in texts):
        return Found("date")
    numbers = [as_number(text) for text in texts]
    if None not in numbers and (len(texts) > MANY_CODES or not all(text.lstrip("+-").isdigit() for text in texts)):
        return Found("numeric")
    filled = len(column) - column.null_count
    if filled >= _FEW_ROWS and len(texts) > _NAMES_OF_ROWS * filled:
        return Found("dropped", f"nearly every row has a text of its own ({len(texts)} in {filled} rows)")
    return Found("category")
