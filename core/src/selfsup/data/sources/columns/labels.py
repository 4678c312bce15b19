"""Detect and read labels: one class per row, several classes per row, or a number."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from selfsup.data.sources.columns.label_columns import can_be_label, chunks, distinct, encoded, is_list, own_names
from selfsup.data.sources.columns.label_values import (
    as_float,
    class_name,
    codes_or_amounts,
    label_parts,
    mostly_numbers,
    same_value,
    separator_of,
)
from selfsup.data.sources.columns.roles import feature_name
from selfsup.data.sources.tables.numbers import MISSING_NUMBERS, decimal_of
from selfsup.errors import ColumnError

LabelKind = Literal["class", "classes", "number"]
"""One class a row, several classes a row (or none), or a number."""
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
LabelArray = np.ndarray[Any, np.dtype[Any]]
"""``class``: [N] int64 ids, -1 where a row has no label. ``classes``: [N, K] int8 of 0 and 1, -1 in all places of a row without
labels. ``number``: [N] float64, NaN where a row has none."""

_NAMES_OF_ROWS, _FEW_ROWS = 0.5, 100
"""Texts are names of rows, not classes, if more than half of them differ in at least this many rows."""
_MANY_HINTS = 10


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
        return _find(cls(column, kind or "class", unlabelled=tuple(unlabelled)), dataset, kind)

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

    def _is_unlabelled(self, value: Any, name: str | None) -> bool:
        return name is None or any(same_value(value, name, given) for given in self.unlabelled)

    def _classes(self, chunk: Any, feature: Any, start: int) -> LabelArray:
        place = {name: index for index, name in enumerate(self.names)}
        own, known = own_names(feature), frozenset(self.names)
        codes, values = encoded(chunk)
        table = np.full(len(values) + 1, -1, dtype=np.int64)  # the last is what code -1, a null, is looked up as
        for code, value in enumerate(values):
            name = class_name(value, own)
            if self._is_unlabelled(value, name):
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
            if self._is_unlabelled(value, name):
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
            rows = [None if self._is_unlabelled(*pair) else label_parts(str(pair[1]), self.separator) for pair in whole]
            own = None
        for row, values in enumerate(rows):
            if values is None:
                found[row] = -1
            elif self.hot:
                found[row] = self._hot(values, start + row)
            elif values:
                named = [(value, class_name(value, own)) for value in values]
                kept = [name for value, name in named if not self._is_unlabelled(value, name)]
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


def _find(reader: LabelReader, dataset: Any, kind: LabelKind | None) -> LabelReader:
    """The reader with its kind, its classes and what goes with them."""
    column, feature = reader.column, dataset.features[reader.column]
    if kind is not None and kind not in LABEL_KINDS:
        raise ColumnError(f"label_kind={kind!r} is not allowed: it is one of {', '.join(LABEL_KINDS)}.")
    if is_list(feature):
        return _find_lists(reader, dataset, kind)
    own, kind_name = own_names(feature), feature_name(feature)
    if own is None and kind_name != "null" and not can_be_label(kind_name):
        raise ColumnError(
            f"Label column {column!r} is of type {kind_name}; labels are texts, numbers, truths or lists of these. "
            "Choose another column with --label."
        )
    values = distinct(dataset, column)
    named = [(value, class_name(value, own)) for value in values]
    reader = _with_unused(reader, named)
    named = [(value, name) for value, name in named if not reader._is_unlabelled(value, name)]
    if not named:
        raise ColumnError(f"Label column {column!r} holds no label. Choose another column with --label.")
    texts = own is None and kind_name == "string"
    if texts and kind in (None, "number"):
        reader, named = _as_numbers(reader, named)
    if kind is None and own is None and kind_name != "bool":
        kind, hints = _kind_of_texts(reader, named, len(dataset)) if texts else _kind_of_numbers(reader, named, len(dataset))
        reader = replace(reader, kind=kind, hints=(*reader.hints, *hints))
    else:
        reader = replace(reader, kind=kind or "class")
    if reader.kind == "number":
        return reader
    if reader.kind == "classes":
        separator = separator_of([str(name) for _, name in named])
        parts = {part for _, name in named for part in label_parts(str(name), separator)}
        parts = {part for part in parts if not reader._is_unlabelled(part, class_name(part))}
        return replace(reader, separator=separator, names=tuple(sorted(str(class_name(part)) for part in parts)))
    if own is not None:
        return replace(reader, names=tuple(name for i, name in enumerate(own) if not reader._is_unlabelled(i, name)))
    return replace(reader, names=_sorted_names(named))


def _with_unused(reader: LabelReader, named: Sequence[tuple[Any, str | None]]) -> LabelReader:
    """The reader with a hint on values that were said to mean "no label", and that no row has."""
    unused = [given for given in reader.unlabelled if not any(name and same_value(value, name, given) for value, name in named)]
    hint = f"No row has the label {', '.join(map(repr, unused))} (--unlabelled)"
    return replace(reader, hints=(*reader.hints, hint)) if unused else reader


def _find_lists(reader: LabelReader, dataset: Any, kind: LabelKind | None) -> LabelReader:
    import pyarrow.compute as pc

    column, feature = reader.column, dataset.features[reader.column]
    inner = feature.feature if hasattr(feature, "feature") else feature[0]
    own, inner_name = own_names(inner), feature_name(inner)
    if kind not in (None, "classes"):
        raise ColumnError(f"Label column {column!r} holds lists, which are several classes a row, and not label_kind={kind!r}.")
    whole = inner_name in ("string", "bool", "null") or inner_name.startswith(("int", "uint"))
    if own is None and not whole and not inner_name.startswith(("float", "double")):
        raise ColumnError(
            f"Label column {column!r} holds lists of {inner_name}; lists of classes hold texts or whole numbers. "
            "Choose another column with --label."
        )
    values: set[Any] = set()
    lengths: set[int] = set()
    for chunk in chunks(dataset, column):
        values.update(pc.list_flatten(chunk).unique().to_pylist())
        lengths.update(pc.list_value_length(chunk).unique().to_pylist())
    lengths.discard(None)
    reader = replace(reader, kind="classes")
    if own is None and inner_name != "string" and values <= {0, 1} and len(lengths) == 1 and (width := lengths.pop()) > 1:
        return replace(reader, hot=True, names=tuple(str(i) for i in range(width)))
    if own is None and not whole:
        raise ColumnError(
            f"Label column {column!r} holds lists of {inner_name} that are not all zeros and ones, one for each class. Lists "
            "name classes (texts or whole numbers); several numbers a row are not predicted. Choose another with --label."
        )
    named = [(value, class_name(value, own)) for value in values]
    reader = _with_unused(reader, named)
    named = [(value, name) for value, name in named if not reader._is_unlabelled(value, name)]
    if not named:
        raise ColumnError(f"Label column {column!r} holds no label. Choose another column with --label.")
    if own is not None:
        return replace(reader, names=tuple(name for i, name in enumerate(own) if not reader._is_unlabelled(i, name)))
    return replace(reader, names=_sorted_names(named))


def _as_numbers(
    reader: LabelReader, named: Sequence[tuple[Any, str | None]]
) -> tuple[LabelReader, list[tuple[Any, str | None]]]:
    """The reader with the decimal mark of texts that are numbers, and with marks such as ``NA`` among them as no label."""
    marks = sorted({str(name) for _, name in named if str(name).strip() in MISSING_NUMBERS})
    kept = [(value, name) for value, name in named if str(name) not in marks]
    decimal = decimal_of(str(name) for _, name in kept)
    if not kept or not decimal:
        return reader, list(named)
    hints = (f"{', '.join(map(repr, marks))} means that there is no label",) if marks else ()
    unlabelled = (*reader.unlabelled, *marks)
    return replace(reader, decimal=decimal, unlabelled=unlabelled, hints=(*reader.hints, *hints)), kept


def _kind_of_texts(
    reader: LabelReader, named: Sequence[tuple[Any, str | None]], rows: int
) -> tuple[LabelKind, tuple[str, ...]]:
    texts = [str(name) for _, name in named]
    if all(text.startswith("[") and text.endswith("]") for text in texts) and any(label_parts(text, "") for text in texts):
        return "classes", ()
    numbers = [as_float(text, reader.decimal) for text in texts]
    if None not in numbers:
        amounts = codes_or_amounts([number for number in numbers if number is not None], rows) == "amounts"
        return ("number" if amounts else "class"), ()
    if (odd := mostly_numbers(texts, numbers)) is not None:
        raise ColumnError(
            f"Label column {reader.column!r} holds numbers but for {', '.join(map(repr, odd[:5]))}. If these mean that there "
            f"is no label, say --label-kind number {' '.join(f'--unlabelled {text!r}' for text in odd[:5])}; if the labels are "
            "classes, say --label-kind class."
        )
    if rows >= _FEW_ROWS and len(texts) > _NAMES_OF_ROWS * rows:
        raise ColumnError(
            f"Label column {reader.column!r} holds {len(texts)} different texts in {rows} rows, which are no classes. Choose "
            "another column with --label, or say --label-kind class."
        )
    separator = separator_of(texts, marks="|;")
    parts = {part for text in texts for part in label_parts(text, separator)} if separator else set()
    hint = f"For several classes a row, --label-kind classes parts texts at {separator!r}" if separator else ""
    return "class", ((hint,) if separator and len(parts) < len(texts) else ())


def _kind_of_numbers(
    reader: LabelReader, named: Sequence[tuple[Any, str | None]], rows: int
) -> tuple[LabelKind, tuple[str, ...]]:
    values = [value for value, _ in named]
    if codes_or_amounts(values, rows) == "amounts":
        whole = all(float(value).is_integer() for value in values)
        hint = f"They are {len(values):,} different whole numbers; for classes say --label-kind class"
        return "number", ((hint,) if whole else ())
    hints = []
    if len(values) > _MANY_HINTS:
        hints.append("They are whole numbers; for a regression say --label-kind number")
    if len(values) > 2 and (doubtful := [str(name) for _, name in named if name in ("-1", "255", "-100")]):
        hints.append(f"If {doubtful[0]} means that there is no label, say --unlabelled {doubtful[0]}")
    return "class", tuple(hints)


def _sorted_names(named: Sequence[tuple[Any, str | None]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(name) for _, name in sorted(named, key=lambda pair: pair[0])))
