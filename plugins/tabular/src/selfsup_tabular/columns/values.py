"""Reads Arrow columns of any type as numbers, points in time or category keys.

Each distinct text is parsed once, so a column of a million rows and ten values needs ten calls.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selfsup.data import as_number
from selfsup.errors import ColumnError

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
SECONDS_A_DAY = 86_400.0


class BadCells:
    """Rows with an unreadable cell, each with the first reason."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def add(self, rows: Collection[int], reason: str) -> None:
        """Mark rows as bad."""
        for row in rows:
            self.reasons.setdefault(int(row), reason)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Combine the chunks of a column."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # some versions keep chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers, durations or times of day (not booleans)."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration, pa.types.is_time)
    return any(test(kind) for test in tests)


def is_date(kind: pa.DataType) -> bool:
    """Whether a column of this type holds points in time."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def numbers_of(name: str, array: pa.Array, markers: Collection[str], bad: BadCells, decimal: str = ".") -> FloatArray:
    """[n] float64, NaN if a value is missing.

    Args:
        name: of the column, for messages.
        array: numbers, booleans, texts of numbers, or durations and times of day (in seconds).
        markers: texts that mark a missing value.
        bad: receives the rows whose text is not a number.
        decimal: decimal mark of texts; see :func:`selfsup.data.as_number`.

    Raises:
        ColumnError: the column has another type.
    """
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if is_text(kind):
        return _parsed(name, array, markers, bad, lambda text: _number(text, decimal), "a number")
    if pa.types.is_duration(kind):
        return _float64(array.cast(pa.duration("us"), safe=False).cast(pa.int64())) / 1e6
    if pa.types.is_time(kind):
        return _float64(array.cast(pa.time64("us"), safe=False).cast(pa.int64())) / 1e6
    if is_number(kind) or pa.types.is_boolean(kind):
        return _float64(array)
    raise ColumnError(f"Column {name!r} holds {kind}, but numbers are expected. Convert it, or drop it with --drop.")


def days_of(name: str, array: pa.Array, markers: Collection[str], bad: BadCells, form: str = "") -> FloatArray:
    """[n] float64, days since 1970-01-01 in UTC, NaN if a value is missing.

    Args:
        name: of the column, for messages.
        array: dates, timestamps (without a zone: UTC), or texts.
        markers: texts that mark a missing value.
        bad: receives the rows whose text is not a date.
        form: format of texts for :meth:`datetime.datetime.strptime`, without a time of day; empty: ISO 8601.

    Raises:
        ColumnError: the column has another type.
    """
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if is_text(kind):
        what = f"a date of the form {form or 'YYYY-MM-DD or YYYY-MM-DD HH:MM:SS'}"
        return _parsed(name, array, markers, bad, lambda text: _days_of_text(text, form), what)
    if is_date(kind):
        return _float64(array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())) / (
            1e6 * SECONDS_A_DAY
        )
    raise ColumnError(f"Column {name!r} holds {kind}, but dates are expected. Convert it, or drop it with --drop.")


def keys_of(name: str, array: pa.Array, markers: Collection[str]) -> tuple[IntArray, list[str | None]]:
    """The category of each row.

    Returns:
        [n] int64 indices into the keys; the keys, one per distinct raw value, None for a missing one (the last is always None;
        several raw values may have one key: 3, 3.0 and "3").

    Raises:
        ColumnError: the column holds lists, structs or bytes.
    """
    kind = array.type
    if pa.types.is_null(kind):
        return np.zeros(len(array), dtype=np.int64), [None]
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise ColumnError(f"Column {name!r} holds {kind}, but categories are expected. Drop it with --drop.")
    encoded = array.dictionary_encode()
    keys = [category_key(value, markers) for value in encoded.dictionary.to_pylist()]
    places = encoded.indices.fill_null(len(keys)).to_numpy(zero_copy_only=False).astype(np.int64)
    return places, [*keys, None]


def category_key(value: Any, markers: Collection[str]) -> str | None:
    """The category of a raw value; None if it is missing.

    Whole numbers have the same key in any type, because a column of integers becomes one of floats if a value is missing. White
    space around texts is removed.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    key = str(value).strip()
    return None if key in markers else key


def distinct_texts(array: pa.Array, markers: Collection[str]) -> list[str]:
    """The distinct texts of a column, without those that mark a missing value."""
    texts = (value.strip() for value in pc.unique(array).to_pylist() if value is not None)
    return sorted({text for text in texts if text not in markers})


def has_missing(array: pa.Array, markers: Collection[str]) -> bool:
    """Whether a value of a column of texts is missing."""
    return bool(array.null_count) or any(value.strip() in markers for value in pc.unique(array).to_pylist())


def as_day(text: str, form: str = "") -> float | None:
    """Days since 1970-01-01 of a text in a format or in ISO 8601, or None. A year or number alone is not a date."""
    if len(text) < 8 or (not form and (not text[:4].isdigit() or text[4] != "-")):
        return None
    try:
        return _days_of_text(text, form)
    except ValueError:
        return None


def date_forms(texts: Iterable[str], forms: Sequence[str]) -> list[str]:
    """The formats in which all texts are dates."""
    left = list(forms)
    for text in texts:
        left = [form for form in left if as_day(text, form) is not None]
        if not left:
            break
    return left


def _number(text: str, decimal: str) -> float:
    value = as_number(text, decimal)
    if value is None:
        raise ValueError(text)
    return value


def _days_of_text(text: str, form: str = "") -> float:
    if form:
        date, time = text, ""
        if ":" in text:
            date, _, time = text.rpartition(" ")
        moment = datetime.datetime.strptime(date, form)
        if time:
            moment = datetime.datetime.combine(moment.date(), datetime.time.fromisoformat(time))
    else:
        moment = datetime.datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp() / SECONDS_A_DAY


def _parsed(
    name: str, array: pa.Array, markers: Collection[str], bad: BadCells, parse: Callable[[str], float], what: str
) -> FloatArray:
    """Texts read by ``parse``, with one call per distinct text."""
    encoded = array.dictionary_encode()
    places = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    values = np.full(len(encoded.dictionary) + 1, np.nan)
    for place, raw in enumerate(encoded.dictionary.to_pylist()):
        text = raw.strip()
        if text in markers:
            continue
        try:
            values[place] = parse(text)
        except ValueError:
            bad.add(np.flatnonzero(places == place).tolist(), f"column {name!r} holds {raw!r}, which is not {what}")
    result: FloatArray = values[places]
    return result


def _float64(array: pa.Array) -> FloatArray:
    values: FloatArray = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
