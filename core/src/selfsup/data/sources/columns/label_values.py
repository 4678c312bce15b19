"""Read label columns as Arrow arrays, and parse single labels: class names, numbers, lists in a text."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from selfsup.data.sources.columns.roles import feature_name
from selfsup.data.sources.tables.numbers import as_number

_CHUNK = 65_536
_LISTS = ("List", "LargeList", "Sequence")
_FEW, _MANY = 20, 100
"""Up to 20 different whole numbers are always classes; up to 100 if there are two rows each."""
_ROWS_A_CLASS, _ROWS_A_CODE = 2, 5
_MARKS = "|;,"
_MOSTLY, _LEAST = 0.8, 20
"""Of at least 20 different texts, a share of 0.8 are numbers: it is a column of numbers with a few other words."""


def class_name(value: Any, own: Sequence[str] | None = None) -> str | None:
    """The class name of a value; None for null, NaN and empty texts.

    ``1``, ``1.0`` and ``Decimal(1)`` have one name, since readers often turn integers with missing values into floats.

    Args:
        value: of the column.
        own: names of a ``ClassLabel``, whose values are ids; -1 means "no label".
    """
    if value is None:
        return None
    if own is not None:
        return own[value] if 0 <= value < len(own) else None
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool | int):
        return str(value)
    number = float(value)
    if math.isnan(number):
        return None
    return str(int(number)) if number.is_integer() else str(value)


def as_float(value: Any, decimal: str = ".") -> float | None:
    """A number, or the number in a text (also ``$1,000``, with ``decimal`` as decimal mark); None for other values."""
    if isinstance(value, str):
        return as_number(value, decimal)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def same_value(value: Any, name: str, given: str) -> bool:
    """Whether a value (``name`` as a class) equals the one that the user gave, as a text or as a number."""
    if name == given or str(value) == given:
        return True
    wanted, number = as_float(given), as_float(name)
    return wanted is not None and wanted == number


def codes_or_amounts(values: Sequence[Any], rows: int) -> Literal["codes", "amounts"]:
    """Whether the distinct numbers of so many rows, without NaN, are class codes or amounts."""
    if not all(float(value).is_integer() for value in values):
        return "amounts"
    n = len(values)
    if n <= _FEW or (n <= _MANY and rows >= _ROWS_A_CLASS * n):
        return "codes"
    low, high = int(min(values)), int(max(values))
    counted = low in (0, 1) and high - low + 1 == n
    return "codes" if counted and rows >= _ROWS_A_CODE * n else "amounts"


def mostly_numbers(texts: Sequence[str], numbers: Sequence[float | None]) -> list[str] | None:
    """The texts that are no numbers, if most others are; else None."""
    odd = [text for text, number in zip(texts, numbers, strict=True) if number is None]
    return sorted(odd) if len(texts) >= _LEAST and len(odd) <= (1 - _MOSTLY) * len(texts) else None


def separator_of(texts: Sequence[str], marks: str = _MARKS) -> str:
    """The separator of classes within texts: the first of ``|``, ``;`` and ``,`` that occurs; empty if none does."""
    plain = [text for text in texts if not _is_bracketed(text)]
    return next((mark for mark in marks if any(mark in text for text in plain)), "")


def label_parts(text: str, separator: str) -> list[Any]:
    """The classes that one text names: a list in brackets (JSON or Python), else the non-empty parts between separators."""
    if _is_bracketed(text):
        for parse in (json.loads, ast.literal_eval):
            try:
                values = parse(text.strip())
            except (ValueError, SyntaxError):
                continue
            if isinstance(values, list) and all(isinstance(value, str | int | float | None) for value in values):
                return values
        return [part.strip().strip("'\"") for part in text.strip()[1:-1].split(",") if part.strip()]
    parts = text.split(separator) if separator else [text]
    return [part.strip() for part in parts if part.strip()]


def _is_bracketed(text: str) -> bool:
    text = text.strip()
    return text.startswith("[") and text.endswith("]")


def can_be_label(kind: str) -> bool:
    """Whether values of a type (its short name) can be labels."""
    return kind in ("string", "bool") or kind.startswith(("int", "uint", "float", "double", "decimal"))


def is_list(feature: Any) -> bool:
    """Whether a column holds lists."""
    return feature_name(feature) in _LISTS


def own_names(feature: Any) -> tuple[str, ...] | None:
    """Names of a ``ClassLabel``, or of the ``ClassLabel`` in a list; None where values name themselves."""
    if is_list(feature):
        feature = feature.feature if hasattr(feature, "feature") else feature[0]
    return tuple(feature.names) if feature_name(feature) == "ClassLabel" else None


def distinct(dataset: Any, column: str) -> list[Any]:
    """The different values of a column, without null and NaN."""
    seen: set[Any] = set()
    for chunk in chunks(dataset, column):
        seen.update(chunk.unique().to_pylist())
    return [value for value in seen if value is not None and value == value]  # NaN is not itself


def encoded(chunk: Any) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[Any]]:
    """[n] places in the list of distinct values, -1 for null; and these values."""
    coded = chunk.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, coded.dictionary.to_pylist()


def chunks(dataset: Any, column: str) -> Iterator[Any]:
    """The column as Arrow arrays of at most 65,536 values."""
    view = dataset.select_columns([column]).with_format("arrow")
    for start in range(0, len(view), _CHUNK):
        yield view[start : start + _CHUNK].column(column).combine_chunks()
