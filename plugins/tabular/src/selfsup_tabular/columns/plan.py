"""The plan of a table: the columns in use, their scales and codes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
from pydantic import Field

from selfsup.config import Config
from selfsup.errors import ColumnError
from selfsup_tabular.columns.dates import date_parts, has_times_of_day, split_date
from selfsup_tabular.columns.kinds import Kind, Markers, find_kinds
from selfsup_tabular.columns.scaling import Scale, Scaling, fit_scale
from selfsup_tabular.columns.values import BadCells, FloatArray, IntArray, days_of, keys_of, numbers_of, one_array

UNKNOWN = 0
"""Code of a category that is not in the training rows or too rare."""
MISSING = 1
"""Code of a missing category."""
FIRST = 2
"""Code of the most frequent category; the others follow by frequency."""


class NumericColumn(Config):
    """A column of numbers."""

    name: str
    """Name of the column."""
    scale: Scale
    """How its values are scaled."""
    decimal: str = "."
    """Decimal mark of values stored as texts."""

    def cells(self, array: pa.Array, markers: Collection[str], bad: BadCells) -> list[FloatArray]:
        """The cells of the column, one [n]."""
        return [self.scale(numbers_of(self.name, array, markers, bad, self.decimal))]

    def cell_names(self) -> tuple[str, ...]:
        """The name of the cell."""
        return (self.name,)


class DateColumn(Config):
    """A column of points in time."""

    name: str
    """Name of the column."""
    scale: Scale
    """How the days since 1970 are scaled."""
    has_times: bool
    """Whether the time of day is included."""
    form: str = ""
    """Format of values stored as texts; empty: ISO 8601."""

    def cells(self, array: pa.Array, markers: Collection[str], bad: BadCells) -> list[FloatArray]:
        """The cells of the column, [n] for each part of the date."""
        time, *cycles = split_date(days_of(self.name, array, markers, bad, self.form), self.has_times)
        return [self.scale(time), *cycles]

    def cell_names(self) -> tuple[str, ...]:
        """The names of the cells."""
        return tuple(f"{self.name}.{part}" for part in date_parts(self.has_times))


class CategoryColumn(Config):
    """A column of categories."""

    name: str
    """Name of the column."""
    values: tuple[str, ...]
    """The categories with their own code, by frequency; the first has code 2."""

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return FIRST + len(self.values)

    def codes(self, array: pa.Array, markers: Collection[str], codes: Mapping[str, int]) -> IntArray:
        """[n] the code of each row; ``codes`` is :meth:`table`."""
        places, keys = keys_of(self.name, array, markers)
        of_key = np.array([MISSING if key is None else codes.get(key, UNKNOWN) for key in keys], dtype=np.int64)
        result: IntArray = of_key[places]
        return result

    def table(self) -> dict[str, int]:
        """Category to code."""
        return {value: code for code, value in enumerate(self.values, FIRST)}


class Plan(Config):
    """All columns in use. Cells are ordered: numeric columns, dates, categories."""

    numbers: tuple[NumericColumn | DateColumn, ...] = ()
    """Columns of numbers, then those of dates."""
    categories: tuple[CategoryColumn, ...] = ()
    """Columns of categories."""
    dropped: dict[str, str] = Field(default_factory=dict)
    """Columns that are not used, with the reason."""
    warnings: tuple[str, ...] = ()
    """Doubts to show to the user: columns of numbers with words in them."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in use."""
        return tuple(column.name for column in (*self.numbers, *self.categories))


def fit_plan(
    table: pa.Table,
    wanted: Mapping[str, Kind],
    *,
    markers: Markers,
    decimal: str = "",
    date_format: str = "",
    scaling: Scaling,
    knots: int,
    max_categories: int,
    min_count: int,
) -> Plan:
    """Learn a plan from training rows.

    Args:
        table: the rows.
        wanted: the user's column to kind.
        markers: texts that mark a missing value.
        decimal: decimal mark of numbers stored as texts; empty: detect it.
        date_format: of dates stored as texts; empty: detect it.
        scaling: of numbers.
        knots: of the quantile scaling.
        max_categories: most categories per column with their own code.
        min_count: least number of rows for such a category.

    Raises:
        ColumnError: a named column is missing or does not fit its kind, or no column is useful.
    """
    arrays = {name: one_array(table.column(name)) for name in table.column_names}
    decoded = pa.table({name: pa.chunked_array([array]) for name, array in arrays.items()})
    found = find_kinds(decoded, wanted, markers, decimal, date_format)
    numbers: list[NumericColumn] = []
    dates: list[DateColumn] = []
    categories: list[CategoryColumn] = []
    dropped = {name: item.reason for name, item in found.items() if item.kind == "dropped"}
    # Unreadable cells are missing here; their rows are counted as bad when they are encoded.
    bad = BadCells()
    for name, item in found.items():
        if item.kind == "category":
            categories.append(_fit_categories(name, arrays[name], markers.words, max_categories, min_count))
        elif item.kind != "dropped":
            if item.kind == "numeric":
                values = numbers_of(name, arrays[name], markers.numbers, bad, item.decimal)
            else:
                values = days_of(name, arrays[name], markers.numbers, bad, item.form)
            if np.isnan(values).all():
                dropped[name] = "it holds no value"
            elif item.kind == "numeric":
                numbers.append(NumericColumn(name=name, scale=fit_scale(values, scaling, knots), decimal=item.decimal))
            else:
                has_times = has_times_of_day(values)
                dates.append(
                    DateColumn(name=name, scale=fit_scale(values, scaling, knots), has_times=has_times, form=item.form)
                )
    if not (numbers or dates or categories):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in dropped.items()) or "there are no columns"
        raise ColumnError(f"No column of the table is useful ({reasons}).")
    warnings = tuple(item.warning for item in found.values() if item.warning)
    return Plan(numbers=(*numbers, *dates), categories=tuple(categories), dropped=dropped, warnings=warnings)


def _fit_categories(
    name: str, array: pa.Array, markers: Collection[str], max_categories: int, min_count: int
) -> CategoryColumn:
    places, keys = keys_of(name, array, markers)
    counts: dict[str, int] = {}
    for key, count in zip(keys, np.bincount(places, minlength=len(keys)).tolist(), strict=True):
        if key is not None:
            counts[key] = counts.get(key, 0) + count
    often = sorted((key for key, count in counts.items() if count >= min_count), key=lambda key: (-counts[key], key))
    return CategoryColumn(name=name, values=tuple(often[:max_categories]))
