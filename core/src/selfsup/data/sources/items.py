"""Turn one item of an object in memory (a value, a pair, a dict) into a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from selfsup.data.sources.columns.roles import MEDIA
from selfsup.data.sources.media.encode import array_of
from selfsup.errors import SourceError

Record = dict[str, Any]
"""One row as column to Python value; its label, if there is one, under :data:`LABEL`."""
LABEL = "label"
_LEAST_RATE = 1000
"""In Hz. A number of at least this after a waveform is its sampling rate, as in torchaudio's data sets."""


def record_of(item: Any, place: int, role: str, kind: str) -> Record:
    """One item of a list, as a row.

    Raises:
        SourceError: it is not a row of this kind.
    """
    if hasattr(item, "_asdict"):
        item = item._asdict()
    if isinstance(item, Mapping):
        if (kind == "audio" and item.get("array") is not None) or (kind in MEDIA and set(item) == {"bytes", "path"}):
            return {role: item}
        record = {str(key): plain_value(value) for key, value in item.items()}
        return with_rate(record, role) if kind == "audio" else record
    if not role:
        return _table_row(item, place)
    if isinstance(item, tuple) and item:
        return _pair(item, role, kind)
    if kind == "string":
        if not isinstance(item, str | np.str_) and item is not None:
            raise SourceError(f"Item {place} is of type {type(item).__name__}, not a text: give a list of strings.")
        return {role: None if item is None else str(item)}
    return {role: item}


def with_rate(record: Record, *roles: str) -> Record:
    """A row in which the samples of each role and the sampling rate beside them are one value."""
    waves = [role for role in roles if array_of(record.get(role)) is not None]
    if not waves or "sampling_rate" not in record:
        return record
    rest = {key: value for key, value in record.items() if key != "sampling_rate"}
    return {**rest, **{role: {"array": record[role], "sampling_rate": record["sampling_rate"]} for role in waves}}


def _pair(item: tuple[Any, ...], role: str, kind: str) -> Record:
    """A value followed by its label; a waveform is followed by its sampling rate first."""
    value, *rest = item
    record: Record = {role: value}
    if kind == "audio" and array_of(value) is not None and rest:
        rate = plain_value(rest[0])
        if isinstance(rate, int | float) and not isinstance(rate, bool) and rate >= _LEAST_RATE:
            record[role] = {"array": value, "sampling_rate": rate}
            rest = rest[1:]
    if rest:
        record[LABEL] = plain_value(rest[0])
    return record


def _table_row(item: Any, place: int) -> Record:
    """A row of a table as numbers, perhaps followed by a label."""
    label: list[Any] = []
    if isinstance(item, tuple) and item and (values := array_of(item[0])) is not None and values.ndim == 1:
        item, label = values, [plain_value(value) for value in item[1:2]]
    if (array := array_of(item)) is not None:
        item = array.tolist() if array.ndim == 1 else None
    if not isinstance(item, list | tuple):
        raise SourceError(f"Item {place} is no row of a table: give dicts, or sequences of values.")
    return {**{f"x{column}": plain_value(value) for column, value in enumerate(item)}, **({LABEL: label[0]} if label else {})}


def plain_value(value: Any) -> Any:
    """A NumPy or torch scalar as a Python value; everything else unchanged."""
    array = array_of(value)
    if array is not None:
        return array.item() if array.ndim == 0 else value
    return value.item() if isinstance(value, np.generic) else value
