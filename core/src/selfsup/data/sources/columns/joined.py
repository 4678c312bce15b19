"""Columns of rows with several parts, and which rows have a part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selfsup.batch_parts import MARK as MARK
from selfsup.data.sources.columns.segments import SEGMENT_ROLES
from selfsup.runtime.findings import Findings

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class SourceColumns:
    """The columns of a source, for a processor that assigns them to the parts of a row."""

    features: Mapping[str, Any]
    """Column to ``datasets`` feature."""
    sample: Callable[[str], list[Any]]
    """The values of a column in a few rows, spread over all rows."""
    given: Mapping[str, str]
    """Role to column, from the user; a role may lack its part."""
    label: str | None
    """The label column, which has no role."""
    name: str
    """The source, for messages."""


@dataclass(frozen=True)
class JoinedColumns:
    """The columns of the roles of each part."""

    columns: Mapping[str, str]
    """``<part>/<role>`` to column, the roles of a part together."""
    parts: Mapping[str, str]
    """Name of a part to the id of its modality, in the order of the columns."""
    media: frozenset[str] = field(default=frozenset())
    """Roles whose values are files."""
    findings: Findings = field(default_factory=Findings)


def split_role(role: str) -> tuple[str, str]:
    """``vision/image`` as ``("vision", "image")``; the part is empty if the role names none."""
    part, mark, rest = role.partition(MARK)
    return (part, rest) if mark else ("", role)


def roles_of(columns: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The entries of a part's roles, without the part's name."""
    start = part + MARK
    return {role.removeprefix(start): value for role, value in columns.items() if role.startswith(start)}


def decisive_roles(roles: Sequence[str]) -> list[str]:
    """The roles of a part that decide whether a row has it: all but the times of a segment."""
    return [role for role in roles if role not in SEGMENT_ROLES] or list(roles)


def is_blank(value: Any) -> bool:
    """Whether a value is empty: null, NaN, a blank text, a file without content and path, or a list of such values."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float | np.floating):
        return math.isnan(float(value))
    if isinstance(value, Mapping):
        return all(item is None or (isinstance(item, str) and not item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_blank(item) for item in value)
    return False


def filled(column: Any) -> BoolArray:
    """[n] bool, which values of an Arrow column are not empty, as :func:`is_blank` defines it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # of no chunk
        return np.zeros(0, dtype=bool)
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_null(kind):
        return np.zeros(len(array), dtype=bool)
    there = np.asarray(array.is_valid())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        there = there & np.asarray(pc.greater(pc.binary_length(pc.utf8_trim_whitespace(array)), 0).fill_null(False))
    elif pa.types.is_floating(kind):
        there = there & ~np.asarray(pc.is_nan(array).fill_null(True))
    elif pa.types.is_struct(kind):
        inside = np.zeros(len(array), dtype=bool)
        for number in range(kind.num_fields):
            child = array.field(number)
            text = pa.types.is_string(child.type) or pa.types.is_large_string(child.type)
            inside |= filled(child) if text else np.asarray(child.is_valid())
        there = there & inside
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        items, parents = filled(array.flatten()), np.asarray(pc.list_parent_indices(array))
        inside = np.zeros(len(array), dtype=bool)
        inside[parents[items]] = True
        there = there & inside
    return there
