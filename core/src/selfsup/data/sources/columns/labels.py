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
    """How the labels of a column are read: their kind, their classes, and what stands for no label."""

    column: str
    kind: LabelKind
    names: tuple[str, ...] = ()
    """K names of classes in the order of their ids; empty for numbers."""
    unlabelled: tuple[str, ...] = ()
    """Values that mean that a row has no label; null, NaN and empty texts always do."""
    separator: str = ""
    """What parts the classes within one text; empty: nothing does."""
    decimal: str = "."
    """What begins the fraction of numbers that are texts."""
    hot: bool = False
    """Whether lists of 0 and 1 say for each class whether it is there, in place of naming those that are."""
    hints: tuple[str, ...] = field(default=(), compare=False)
    """What else the column could mean, and how to say so."""

    @classmethod
    def find(cls, dataset: Any, column: str, kind: LabelKind | None = None, unlabelled: Collection[str] = ()) -> LabelReader:
        """Find out what a column of a ``datasets.Dataset`` holds.

        ``ClassLabel``, texts and truths are classes, and texts that are all numbers with a fraction among them are numbers.
        Lists are several classes. Numbers with a fraction are numbers; whole ones are classes where there are few of them
        (20, or 100 with two rows each) or where they count from 0 or 1 without a gap with five rows each, else numbers.

        Args:
            dataset: the rows.
            column: the label column.
            kind: what it holds, as told; None: it is found.
            unlabelled: values that mean that a row has no label.

        Raises:
            ColumnError: the column holds no label, or nothing that can be one, or not what ``kind`` says.
        """
        return find_kind(cls(column, kind or "class", unlabelled=tuple(unlabelled)), dataset, kind)

    def together(self, other: LabelReader) -> LabelReader:
        """The same with the classes of ``other`` that are not here behind those that are."""
        more = tuple(name for name in other.names if name not in set(self.names))
        return replace(self, names=self.names + more, separator=self.separator or other.separator)

    def describe(self) -> str:
        """What was found, and what else it could be."""
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
            ColumnError: a row is of a class that is not among ``names``, or its label is no number where they are numbers.
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
        table = np.full(len(values) + 1, -1, dtype=np.int64)  # the last is what code -1, a null, is looked up as
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
                    f"label, say --unlabelled {str(value)!r}; if the labels are classes, say --label-kind class."
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
    """[N] ids of groups to draw evenly from: of classes themselves, of numbers their quantiles, of several classes one.

    Args:
        labels: as a reader gives them, each row labelled.
        bins: groups of numbers at most, fewer where they would hold fewer than five rows. Each has as many rows as every other
            but for equal numbers, which stay together.
    """
    if labels.ndim == 2:
        return np.zeros(len(labels), dtype=np.int64)
    if labels.dtype.kind != "f":
        return labels.astype(np.int64)
    bins = max(1, min(bins, len(labels) // 5))
    edges = np.unique(np.quantile(labels, np.linspace(0, 1, bins + 1)[1:-1])) if bins > 1 else np.zeros(0)
    return np.searchsorted(edges, labels, side="right").astype(np.int64)


def standard_scale(numbers: LabelArray) -> tuple[float, float]:
    """Mean and standard deviation of numbers, in float64; the latter is 1 where they do not vary."""
    deviation = float(np.std(numbers, dtype=np.float64))
    return float(np.mean(numbers, dtype=np.float64)), deviation if deviation > 0 else 1.0
