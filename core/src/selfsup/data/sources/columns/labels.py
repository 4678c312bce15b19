"""Read labels: one class a row, several classes a row, or a number."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from selfsup.data.sources.columns.label_kinds import LABEL_KINDS as LABEL_KINDS
from selfsup.data.sources.columns.label_kinds import LabelKind as LabelKind
from selfsup.data.sources.columns.label_kinds import find_kind
from selfsup.data.sources.columns.label_values import (
    as_float,
    chunks,
    class_name,
    encoded,
    is_list,
    label_parts,
    own_names,
    same_value,
)
from selfsup.errors import ColumnError

LabelArray = np.ndarray[Any, np.dtype[Any]]
"""``class``: [N] int64 ids, -1 where a row has no label. ``classes``: [N, K] int8 of 0 and 1, -1 in all places of a row without
labels. ``number``: [N] float64, NaN where a row has none."""


@dataclass(frozen=True)
class LabelReader:
    """How to read the labels of a column: their kind, their classes, and which values mean "no label"."""

    column: str
    kind: LabelKind
    names: tuple[str, ...] = ()
    """K class names in the order of their ids; empty for numbers."""
    unlabelled: tuple[str, ...] = ()
    """Values that mean "no label", in addition to null, NaN and empty texts."""
    separator: str = ""
    """Separator of several classes within one text; empty: a text is one class."""
    decimal: str = "."
    """Decimal mark of numbers that are texts."""
    hot: bool = False
    """Whether lists hold a 0 or 1 for each class, instead of the names of the classes."""
    hints: tuple[str, ...] = field(default=(), compare=False)
    """Other meanings of the column, and the options that choose them."""

    @classmethod
    def find(cls, dataset: Any, column: str, kind: LabelKind | None = None, unlabelled: Collection[str] = ()) -> LabelReader:
        """Detect what a column of a ``datasets.Dataset`` holds.

        ``ClassLabel``, texts and booleans are classes, unless all texts are numbers and some have a fraction. Lists are several
        classes. Numbers are numbers if some have a fraction; whole numbers are classes if there are few of them (20, or 100
        with two rows each), or if they count from 0 or 1 without a gap with five rows each.

        Args:
            dataset: the rows.
            column: the label column.
            kind: what it holds; None: it is detected.
            unlabelled: values that mean "no label".

        Raises:
            ColumnError: the column holds no labels, values that cannot be labels, or labels of another kind than ``kind``.
        """
        return find_kind(cls(column, kind or "class", unlabelled=tuple(unlabelled)), dataset, kind)

    def together(self, other: LabelReader) -> LabelReader:
        """The same with the further classes of ``other`` appended."""
        more = tuple(name for name in other.names if name not in set(self.names))
        return replace(self, names=self.names + more, separator=self.separator or other.separator)

    def describe(self) -> str:
        """What was detected, and what else it could be."""
        if self.kind == "number":
            what = "numbers"
        else:
            shown = ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")
            several = ", several a row" if self.kind == "classes" else ""
            what = f"{len(self.names)} class{'es' * (len(self.names) != 1)} ({shown}){several}"
        return ". ".join([what, *self.hints])

    def read(self, dataset: Any) -> LabelArray:
        """The labels of all rows.

        Raises:
            ColumnError: a row has a class that is not among ``names``, or a label that is no number although the others are.
        """
        parts: list[LabelArray] = []
        start = 0
        feature = dataset.features[self.column]
        for chunk in chunks(dataset, self.column):
            read = {"class": self._classes, "classes": self._several, "number": self._numbers}[self.kind]
            parts.append(read(chunk, feature, start))
            start += len(chunk)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def is_unlabelled(self, value: Any, name: str | None) -> bool:
        """Whether a value (``name`` as a class) marks a row without a label."""
        return name is None or any(same_value(value, name, given) for given in self.unlabelled)

    def _classes(self, chunk: Any, feature: Any, start: int) -> LabelArray:
        place = {name: index for index, name in enumerate(self.names)}
        own, known = own_names(feature), frozenset(self.names)
        codes, values = encoded(chunk)
        table = np.full(len(values) + 1, -1, dtype=np.int64)  # the last entry is for null, whose code is -1
        for code, value in enumerate(values):
            name = class_name(value, own)
            if self.is_unlabelled(value, name):
                continue
            if name not in known:
                raise ColumnError(self._unknown(name, start + int(np.argmax(codes == code))))
            table[code] = place[name]
        found: LabelArray = table[codes]
        return found

    def _numbers(self, chunk: Any, feature: Any, start: int) -> LabelArray:
        codes, values = encoded(chunk)
        table = np.full(len(values) + 1, np.nan)
        own = own_names(feature)
        for code, value in enumerate(values):
            name = class_name(value, own)
            if self.is_unlabelled(value, name):
                continue
            number = as_float(name if own is not None else value, self.decimal)
            if number is None or not np.isfinite(number):
                row = start + int(np.argmax(codes == code))
                raise ColumnError(
                    f"The label {value!r} of row {row} (column {self.column!r}) is no number. If it means that there is no "
                    f"label, add --unlabelled {str(value)!r}; if the labels are classes, add --label-kind class."
                )
            table[code] = number
        found: LabelArray = table[codes]
        return found

    def _several(self, chunk: Any, feature: Any, start: int) -> LabelArray:
        place = {name: index for index, name in enumerate(self.names)}
        found = np.zeros((len(chunk), len(self.names)), dtype=np.int8)
        own = own_names(feature)
        rows = chunk.to_pylist()
        if not is_list(feature):
            whole = [(value, class_name(value, own)) for value in rows]
            rows = [None if self.is_unlabelled(*pair) else label_parts(str(pair[1]), self.separator) for pair in whole]
            own = None
        for row, values in enumerate(rows):
            if values is None:
                found[row] = -1
            elif self.hot:
                found[row] = self._hot(values, start + row)
            elif values:
                named = [(value, class_name(value, own)) for value in values]
                kept = [name for value, name in named if not self.is_unlabelled(value, name)]
                if not kept:
                    found[row] = -1
                for name in kept:
                    if name not in place:
                        raise ColumnError(self._unknown(name, start + row))
                    found[row, place[name]] = 1
        return found

    def _hot(self, values: Sequence[Any], row: int) -> Any:
        if len(values) != len(self.names) or any(value not in (0, 1) for value in values):
            raise ColumnError(
                f"The label of row {row} (column {self.column!r}) is {values}; the others are lists of {len(self.names)} zeros "
                "and ones."
            )
        return values

    def _unknown(self, name: str | None, row: int) -> str:
        known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
        return f"Class {name!r} (label column {self.column!r}, row {row}) is not among the known classes: {known}."


def has_label(labels: LabelArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """[N] bool, whether each row has a label."""
    if labels.ndim == 2:
        return np.asarray((labels >= 0).all(axis=1))
    return np.asarray(~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0)


def strata(labels: LabelArray, bins: int = 10) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[N] ids of groups to draw evenly from: the classes, quantiles of numbers, or one group for several classes a row.

    Args:
        labels: as a reader gives them; every row has one.
        bins: most groups of numbers; fewer if a group would have fewer than five rows. Groups have the same size, except that
            equal numbers stay together.
    """
    if labels.ndim == 2:
        return np.zeros(len(labels), dtype=np.int64)
    if labels.dtype.kind != "f":
        return labels.astype(np.int64)
    bins = max(1, min(bins, len(labels) // 5))
    edges = np.unique(np.quantile(labels, np.linspace(0, 1, bins + 1)[1:-1])) if bins > 1 else np.zeros(0)
    return np.searchsorted(edges, labels, side="right").astype(np.int64)


def standard_scale(numbers: LabelArray) -> tuple[float, float]:
    """Mean and standard deviation of numbers, in float64; the deviation is 1 if all numbers are equal."""
    deviation = float(np.std(numbers, dtype=np.float64))
    return float(np.mean(numbers, dtype=np.float64)), deviation if deviation > 0 else 1.0
