"""Read label columns as Arrow arrays, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from selfsup.data.sources.columns.roles import feature_name

_CHUNK = 65_536
_LISTS = ("List", "LargeList", "Sequence")


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
