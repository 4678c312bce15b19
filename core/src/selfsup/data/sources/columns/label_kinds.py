"""Detect what a label column holds: one class a row, several classes a row, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from selfsup.data.sources.columns.label_values import (
    as_float,
    can_be_label,
    chunks,
    class_name,
    codes_or_amounts,
    distinct,
    is_list,
    label_parts,
    mostly_numbers,
    own_names,
    same_value,
    separator_of,
)
from selfsup.data.sources.columns.roles import feature_name
from selfsup.data.sources.tables.numbers import MISSING_NUMBERS, decimal_of
from selfsup.errors import ColumnError

if TYPE_CHECKING:
    from selfsup.data.sources.columns.labels import LabelReader

LabelKind = Literal["class", "classes", "number"]
"""One class a row, several classes a row (or none), or a number."""
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
_NAMES_OF_ROWS, _FEW_ROWS = 0.5, 100
"""Texts are names of rows, not classes, if more than half of them differ in at least this many rows."""
_MANY_HINTS = 10


def find_kind(reader: LabelReader, dataset: Any, kind: LabelKind | None) -> LabelReader:
    """The reader with its kind, its classes, and further settings."""
    column, feature = reader.column, dataset.features[reader.column]
    if kind is not None and kind not in LABEL_KINDS:
        raise ColumnError(f"label_kind={kind!r} is not allowed: it is one of {', '.join(LABEL_KINDS)}.")
    if is_list(feature):
        return _find_lists(reader, dataset, kind)
    own, kind_name = own_names(feature), feature_name(feature)
    if own is None and kind_name != "null" and not can_be_label(kind_name):
        raise ColumnError(
            f"Label column {column!r} is of type {kind_name}; labels are texts, numbers, booleans or lists of these. "
            "Choose another column with --label."
        )
    values = distinct(dataset, column)
    named = [(value, class_name(value, own)) for value in values]
    reader = _with_unused(reader, named)
    named = [(value, name) for value, name in named if not reader.is_unlabelled(value, name)]
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
        parts = {part for part in parts if not reader.is_unlabelled(part, class_name(part))}
        return replace(reader, separator=separator, names=tuple(sorted(str(class_name(part)) for part in parts)))
    if own is not None:
        return replace(reader, names=tuple(name for i, name in enumerate(own) if not reader.is_unlabelled(i, name)))
    return replace(reader, names=_sorted_names(named))


def _with_unused(reader: LabelReader, named: Sequence[tuple[Any, str | None]]) -> LabelReader:
    """The reader with a hint about ``unlabelled`` values that no row has."""
    unused = [given for given in reader.unlabelled if not any(name and same_value(value, name, given) for value, name in named)]
    hint = f"No row has the label {', '.join(map(repr, unused))} (--unlabelled)"
    return replace(reader, hints=(*reader.hints, hint)) if unused else reader


def _find_lists(reader: LabelReader, dataset: Any, kind: LabelKind | None) -> LabelReader:
    import pyarrow.compute as pc

    column, feature = reader.column, dataset.features[reader.column]
    inner = feature.feature if hasattr(feature, "feature") else feature[0]
    own, inner_name = own_names(inner), feature_name(inner)
    if kind not in (None, "classes"):
        raise ColumnError(f"Label column {column!r} holds lists, which are several classes a row, not label_kind={kind!r}.")
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
    named = [(value, name) for value, name in named if not reader.is_unlabelled(value, name)]
    if not named:
        raise ColumnError(f"Label column {column!r} holds no label. Choose another column with --label.")
    if own is not None:
        return replace(reader, names=tuple(name for i, name in enumerate(own) if not reader.is_unlabelled(i, name)))
    return replace(reader, names=_sorted_names(named))


def _as_numbers(
    reader: LabelReader, named: Sequence[tuple[Any, str | None]]
) -> tuple[LabelReader, list[tuple[Any, str | None]]]:
    """The reader with the decimal mark of texts that are numbers, and with marks such as ``NA`` as "no label"."""
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
            f"Label column {reader.column!r} holds numbers except for {', '.join(map(repr, odd[:5]))}. If these mean "
            f'"no label", add --label-kind number {" ".join(f"--unlabelled {text!r}" for text in odd[:5])}; if the labels are '
            "classes, add --label-kind class."
        )
    if rows >= _FEW_ROWS and len(texts) > _NAMES_OF_ROWS * rows:
        raise ColumnError(
            f"Label column {reader.column!r} holds {len(texts)} different texts in {rows} rows, too many for classes. Choose "
            "another column with --label, or add --label-kind class."
        )
    separator = separator_of(texts, marks="|;")
    parts = {part for text in texts for part in label_parts(text, separator)} if separator else set()
    hint = f"For several classes a row, --label-kind classes splits texts at {separator!r}" if separator else ""
    return "class", ((hint,) if separator and len(parts) < len(texts) else ())


def _kind_of_numbers(
    reader: LabelReader, named: Sequence[tuple[Any, str | None]], rows: int
) -> tuple[LabelKind, tuple[str, ...]]:
    values = [value for value, _ in named]
    if codes_or_amounts(values, rows) == "amounts":
        whole = all(float(value).is_integer() for value in values)
        hint = f"They are {len(values):,} different whole numbers; for classes, add --label-kind class"
        return "number", ((hint,) if whole else ())
    hints = []
    if len(values) > _MANY_HINTS:
        hints.append("They are whole numbers; for a regression, add --label-kind number")
    if len(values) > 2 and (doubtful := [str(name) for _, name in named if name in ("-1", "255", "-100")]):
        hints.append(f"If {doubtful[0]} means that there is no label, add --unlabelled {doubtful[0]}")
    return "class", tuple(hints)


def _sorted_names(named: Sequence[tuple[Any, str | None]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(name) for _, name in sorted(named, key=lambda pair: pair[0])))
