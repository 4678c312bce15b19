"""Rows that are segments of a file, with columns for start and end in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from selfsup.data.sources.columns.roles import describe_columns, feature_fits
from selfsup.errors import BadRowError, ColumnError

SEGMENT_ROLES = ("start", "end", "offset", "duration")
"""Columns that make a row a segment: ``start`` (or ``offset``), and ``end`` or ``duration``; each may be missing."""
_TOLERANCE = 0.1
"""Seconds that a segment may end after its file, since tables round durations."""


class Segment(NamedTuple):
    """A part of a file, in seconds."""

    start: float
    """At least 0."""
    end: float | None
    """After ``start``; None: the end of the file."""

    def within(self, seconds: float, noun: str) -> tuple[float, float]:
        """Start and end in a file of ``seconds``; an end up to 0.1 s after the file's becomes that of the file.

        Raises:
            BadRowError: the segment is not inside the file.
        """
        end = seconds if self.end is None else self.end
        if self.start >= seconds or end > seconds + _TOLERANCE:
            shown = f"from {self.start:g} s on" if self.end is None else f"of {self.start:g} to {self.end:g} s"
            raise BadRowError(f"its segment {shown} is outside the {noun}, which has {seconds:.6g} s")
        return self.start, min(end, seconds)


def segment_columns(
    features: Mapping[str, Any], given: Mapping[str, str], *, taken: Mapping[str, str], label: str | None, name: str
) -> dict[str, str]:
    """Role to column for the :data:`SEGMENT_ROLES`.

    A role gets the column that the user gave (an empty name: no column), else the one with its own name if it holds numbers.
    A ``duration`` that the user did not give needs a start: alone it is the duration of the file.

    Args:
        features: column to feature.
        given: role to column, from the user.
        taken: role to column, of the other roles.
        label: the label column.
        name: the source, for messages.

    Raises:
        ColumnError: a column that the user gave is missing, or holds neither numbers nor texts.
    """
    free = {column: feature for column, feature in features.items() if column not in (label, *taken.values())}
    found = {}
    for role in SEGMENT_ROLES:
        column = given.get(role)
        if column:
            if column not in features:
                raise ColumnError(
                    f"{name} has no column {column!r} (for {role!r}). Its columns are {describe_columns(features)}."
                )
            if not feature_fits(features[column], "number") and not feature_fits(features[column], "string"):
                raise ColumnError(f"Column {column!r} of {name} cannot be the {role!r} of a segment: it holds no seconds.")
            found[role] = column
        elif column is None and role in free and feature_fits(free[role], "number"):
            found[role] = role
    if not given.get("duration") and not {"start", "offset"} & set(found):
        found.pop("duration", None)
    return found


def segment_of(row: Mapping[str, Any]) -> Segment | None:
    """The segment that a row names; None: the whole file.

    A missing value is like a missing column. ``start`` has priority over ``offset``, and ``end`` over ``duration``.

    Raises:
        BadRowError: a value is no time, the segment starts before the file, or its length is not positive.
    """
    start, end, offset, duration = (_seconds(row.get(role), role) for role in SEGMENT_ROLES)
    start = offset if start is None else start
    if end is None and duration is not None:
        end = (start or 0.0) + duration
    if start is None and end is None:
        return None
    start = start or 0.0
    if start < 0 or (end is not None and end <= start):
        shown = f"{start:g} s on" if end is None else f"{start:g} to {end:g} s"
        raise BadRowError(f"its segment of {shown} is not allowed: it must start at 0 or later, and end after its start")
    return Segment(start, end)


def _seconds(value: Any, role: str) -> float | None:
    """A number, or a text such as ``12.5`` or ``1:02:03.5``, as seconds."""
    if value is None or value == "":
        return None
    try:
        parts = [float(part) for part in value.split(":")] if isinstance(value, str) else [float(value)]
    except (TypeError, ValueError) as error:
        raise BadRowError(f"its {role} {value!r} is no time: give seconds") from error
    if math.isnan(parts[-1]):
        return None
    if len(parts) > 3 or not all(map(math.isfinite, parts)) or any(part < 0 for part in parts[1:]):
        raise BadRowError(f"its {role} {value!r} is no time: give seconds")
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + part
    return seconds
