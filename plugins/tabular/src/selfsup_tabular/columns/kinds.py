"""Detects the kind of each column: numbers, categories, dates, or useless."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from selfsup.data import Rows, as_number, categorical_columns, decimal_of
from selfsup.errors import ColumnError
from selfsup.runtime import listed_names
from selfsup_tabular.columns.values import date_forms, distinct_texts, has_missing, is_date, is_number, is_text

Kind = Literal["numeric", "category", "date", "dropped"]

MANY_CODES = 100
"""Texts of whole numbers are categories up to this many distinct values, and numbers above."""
_NAMES_OF_ROWS = 0.5
"""A text column with more distinct values than this share of its rows identifies rows (ids, sentences)."""
_FEW_ROWS = 100
"""With fewer rows, text columns are not dropped for that reason."""
_OFTEN = 10
"""Least number of rows for dropping a constant column."""
DATE_FORMS = (
    "", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y",
    "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
"""Date formats to try; the first that fits is used; empty: ISO 8601."""
_DAY_FIRST = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y"}
"""Formats with the day first, and the same with the month first."""
_ROW_NAMES = re.compile(
    r"|Unnamed: ?\d+|index|level_\d+|row|row[ _.]?(number|num|no|nr|id|index|names?)|nr|no|ids?|uuid|guid"
    r"|\w*[ _.-](id|uuid|guid)|\w*[a-z](Id|ID)",
)
"""Names of columns that number or identify rows."""


class Markers(NamedTuple):
    """Texts that mark a missing value."""

    words: frozenset[str]
    """In every column."""
    numbers: frozenset[str]
    """In columns of numbers and dates; includes ``words``."""


class Found(NamedTuple):
    """The detected kind of a column."""

    kind: Kind
    reason: str = ""
    """Why it is dropped."""
    warning: str = ""
    """A doubt to show to the user."""
    decimal: str = "."
    """Decimal mark of numbers stored as texts."""
    form: str = ""
    """Format of dates stored as texts; empty: ISO 8601."""


def class_columns(rows: Any, names: Collection[str]) -> dict[str, Kind]:
    """Columns that the source declares as categories (``ClassLabel``, pandas' ``category``, Arrow dictionaries).

    Args:
        rows: :class:`~selfsup.data.Rows` or a whole table; anything else declares none.
        names: existing columns.
    """
    if not isinstance(rows, Rows):
        return {name: "category" for name in categorical_columns(rows) if name in names}
    features = rows.dataset.features
    kinds = {role: type(features[column]).__name__ for role, column in rows.columns.items()}
    coded = {role for role, column in rows.columns.items() if kinds[role] == "ClassLabel" or column in rows.categories}
    return {role: "category" for role in rows.columns if role in coded and role in names}


def find_kinds(
    table: pa.Table, wanted: Mapping[str, Kind], markers: Markers, decimal: str = "", date_format: str = ""
) -> dict[str, Found]:
    """The kind of every column, in the table's order.

    Args:
        table: training rows, with dictionaries decoded.
        wanted: the user's column to kind; overrides detection.
        markers: texts that mark a missing value.
        decimal: decimal mark of numbers stored as texts; empty: detect it.
        date_format: of dates stored as texts; empty: detect it.

    Raises:
        ColumnError: a column in ``wanted`` does not exist.
    """
    for name in wanted:
        if name not in table.column_names:
            columns = ", ".join(table.column_names)
            raise ColumnError(f"There is no column {name!r} to use as {wanted[name]}. The columns are {columns}.")
    found = {}
    for name in table.column_names:
        kind = wanted.get(name)
        column = table.column(name)
        if kind == "dropped":
            found[name] = Found("dropped", "as requested")
        elif column.null_count == len(column):
            found[name] = Found("dropped", "it holds no value")
        elif kind == "numeric" and is_text(column.type):
            texts = distinct_texts(column, markers.numbers)
            found[name] = Found(kind, decimal=decimal or likely_decimal(texts))
        elif kind == "date" and is_text(column.type):
            found[name] = _dates(name, distinct_texts(column, markers.numbers), date_format) or Found(kind, form=date_format)
        elif kind is not None:
            found[name] = Found(kind)
        else:
            found[name] = find_kind(name, column, markers, decimal, date_format)
    return found


def find_kind(name: str, column: pa.ChunkedArray, markers: Markers, decimal: str = "", date_format: str = "") -> Found:
    """The kind of one column, by its type, and for texts by its values.

    Numbers are numeric, booleans are categories, dates and timestamps are dates. Texts are dates or numbers if all of them are
    (whole numbers are categories up to :data:`MANY_CODES` distinct ones, or if some begin with a zero). Other texts are
    categories, unless nearly every row has its own. Dropped are constant columns, and whole numbers that differ in every row
    under a name such as ``id``, ``Unnamed: 0`` or none.
    """
    kind = column.type
    if is_date(kind):
        return Found("date")
    if pa.types.is_integer(kind) and _numbers_rows(column, name):
        return Found("dropped", "it numbers the rows")
    if len(column) >= _OFTEN and not column.null_count and (is_number(kind) or pa.types.is_boolean(kind)):
        values = pc.unique(column)
        if len(values) == 1 and not (pa.types.is_floating(kind) and pc.is_nan(values)[0].as_py()):
            return Found("dropped", f"every row holds {values[0].as_py()}")
    if is_number(kind):
        values = pc.drop_null(column.cast(pa.float64(), safe=False)) if pa.types.is_floating(kind) else None
        if values is not None and pc.all(pc.is_nan(values)).as_py():
            return Found("dropped", "it holds no value")
        return Found("numeric")
    if pa.types.is_boolean(kind):
        return Found("category")
    if not is_text(kind):
        return Found("dropped", f"it holds {kind}")
    return _kind_of_texts(column, markers, decimal, date_format, name)


def _dates(name: str, texts: Collection[str], form: str) -> Found | None:
    """Dates in one format (``form`` if it fits); None if the texts are not dates."""
    fitting = date_forms(texts, (form, *DATE_FORMS) if form else DATE_FORMS) if texts else []
    if not fitting:
        return None
    chosen, warning = fitting[0], ""
    other = next((item for item in fitting if chosen in _DAY_FIRST and item == _DAY_FIRST[chosen] and not form), "")
    if other:
        warning = (
            f"The dates of column {name!r} could have the day or the month first ({next(iter(texts))!r}): they are read with "
            f"the day first. Else: --set processor.date_format={other}."
        )
    return Found("date", warning=warning, form=chosen)


def _kind_of_texts(column: pa.ChunkedArray, markers: Markers, decimal: str, date_format: str, name: str) -> Found:
    texts = distinct_texts(column, markers.words)
    values = [text for text in texts if text not in markers.numbers]
    if not texts:
        return Found("dropped", "it holds no value")
    if len(texts) == 1 and len(column) >= _OFTEN and not has_missing(column, markers.words):
        return Found("dropped", f"every row holds {texts[0]!r}")
    if (dates := _dates(name, values, date_format)) is not None:
        return dates
    mark = decimal_of(values, decimal) if values else ""
    if decimal and mark != decimal:
        mark = ""
    whole = all(text.lstrip("+-").isdigit() for text in values)
    coded = any(text[0] == "0" and text.isdigit() and len(text) > 1 for text in values)
    if mark and not coded and (len(values) > MANY_CODES or not whole):
        return Found("numeric", decimal=mark)
    filled = len(column) - column.null_count
    warning = "" if mark or coded else _mostly_numbers(column, markers, decimal or likely_decimal(values), name)
    if filled >= _FEW_ROWS and len(texts) > _NAMES_OF_ROWS * filled:
        reason = f"nearly every row has its own text ({len(texts)} in {filled} rows)"
        return Found("dropped", reason, warning and f"{warning} The column is dropped.")
    return Found("category", warning=warning and f"{warning} Its values are categories.")


def likely_decimal(texts: Collection[str]) -> str:
    """The decimal mark with which most texts are numbers."""
    return max((".", ","), key=lambda mark: sum(as_number(text, mark) is not None for text in texts))


def _mostly_numbers(column: pa.ChunkedArray, markers: Markers, decimal: str, name: str) -> str:
    """A warning if most but not all cells are numbers; else empty."""
    counts = pc.value_counts(pc.utf8_trim_whitespace(pc.drop_null(column)))
    numbers, odd = 0, []
    for item in counts.to_pylist():
        if item["values"] in markers.numbers:
            continue
        if as_number(item["values"], decimal) is None:
            odd.append((item["counts"], item["values"]))
        else:
            numbers += item["counts"]
    others = sum(count for count, _ in odd)
    if not odd or numbers <= others:
        return ""
    shown = listed_names((f"{text[:30]!r} ({count})" for count, text in sorted(odd, key=lambda pair: (-pair[0], pair[1]))), 5)
    return (
        f"Column {name!r} holds numbers in {numbers} of {numbers + others} cells, and {shown}. To read it as numbers, declare "
        f"these texts as missing (--set processor.missing_numbers=...) or their rows as bad (--numeric {name})."
    )


def _numbers_rows(column: pa.ChunkedArray, name: str) -> bool:
    """Whether a column of whole numbers differs in every row and has the name of a row number or id."""
    if _ROW_NAMES.fullmatch(name.strip()) is None and _ROW_NAMES.fullmatch(name.strip().lower()) is None:
        return False
    return len(column) > 1 and not column.null_count and len(pc.unique(column)) == len(column)
