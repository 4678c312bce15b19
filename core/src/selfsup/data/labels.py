"""Class names and class ids of a label column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from selfsup.data.columns import feature_name
from selfsup.errors import ColumnError

_CHUNK = 65_536


def class_names_of(dataset: Any, column: str) -> tuple[str, ...]:
    """The names of the classes, in the order of their ids.

    They are the ``ClassLabel``'s names where the column has them, else the sorted distinct values (numbers by size).

    Raises:
        ColumnError: the column holds something that is no class (real numbers, lists, images).
    """
    feature = dataset.features[column]
    if feature_name(feature) == "ClassLabel":
        return tuple(feature.names)
    kind = feature_name(feature)
    if kind == "null" or (
        kind.startswith("float") and all(chunk.null_count == len(chunk) for chunk in _chunks(dataset, column))
    ):
        raise ColumnError(f"Label column {column!r} holds no label. Choose another column with --label.")
    if kind != "string" and not kind.startswith(("int", "uint", "bool")):
        raise ColumnError(
            f"Label column {column!r} is of type {kind}; classes are whole numbers, strings or booleans. "
            "Choose another column with --label."
        )
    seen: set[Any] = set()
    for chunk in _chunks(dataset, column):
        seen.update(chunk.unique().to_pylist())
    seen.discard(None)
    return tuple(str(value) for value in sorted(seen))


def class_ids_of(dataset: Any, column: str, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[N] int64, the place of each row's class in ``names``.

    Args:
        dataset: the rows.
        column: the label column.
        names: the classes to number by (the training set's, for a test set).

    Raises:
        ColumnError: a row has no label, or one that is not among ``names``.
    """
    place = {name: index for index, name in enumerate(names)}
    feature = dataset.features[column]
    own_names = feature.names if feature_name(feature) == "ClassLabel" else None
    ids = np.empty(len(dataset), dtype=np.int64)
    start = 0
    for chunk in _chunks(dataset, column):
        encoded = chunk.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        table = np.empty(len(encoded.dictionary) + 1, dtype=np.int64)
        table[-1] = -1  # what code -1, a null, is looked up as
        for code, value in enumerate(encoded.dictionary.to_pylist()):
            name = str(value) if own_names is None else _name(value, own_names)
            if name is None:
                table[code] = -1
            elif name in place:
                table[code] = place[name]
            else:
                known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
                row = start + int(np.argmax(codes == code))
                raise ColumnError(
                    f"Class {name!r} (label column {column!r}, row {row}) is not among the known classes: {known}."
                )
        part = table[codes]
        if (part < 0).any():
            row = start + int(np.argmax(part < 0))
            raise ColumnError(
                f"Row {row} has no label in column {column!r}. Leave such rows out, or name another column with --label."
            )
        ids[start : start + len(part)] = part
        start += len(part)
    return ids


def _name(value: int, names: Sequence[str]) -> str | None:
    """The name of a ``ClassLabel`` id; None for -1, which data sets use for an unknown label."""
    return names[value] if 0 <= value < len(names) else None


def _chunks(dataset: Any, column: str) -> Iterator[Any]:
    """The column as Arrow arrays of at most 65,536 values."""
    view = dataset.select_columns([column]).with_format("arrow")
    for start in range(0, len(view), _CHUNK):
        yield view[start : start + _CHUNK].column(column).combine_chunks()
