"""The columns of a file of embeddings beside the embedding: row number, names and label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from selfsup.data import Rows, Store
from selfsup.data.sources.columns.labels import has_label
from selfsup.data.sources.folders import NAME_COLUMN
from selfsup.errors import ColumnError

_NAMED = 64
"""Rows whose names are read at once."""
Part = tuple[Any, np.ndarray[Any, np.dtype[np.float32]]]
"""Consecutive rows of a file: a ``pyarrow.Table`` of all columns but the embedding, and the embeddings [n, D]."""
_ID_NAMES = ("id", "key", "uid", "uuid", "guid", "sample_id", "row_id", "image_id", "file_name", "filename", "file", "path")
"""Names of columns that name rows; the first one that a source has is used."""


def id_column_of(rows: Rows, given: str | None) -> str | None:
    """The column that names rows: the given one, else a column ``id``, ``key``, ``uuid``, ``file_name``, ..., else None.

    In a table it may be one of the value columns; elsewhere it is a column without a role.

    Raises:
        ColumnError: the given column does not exist.
    """
    names = list(rows.dataset.column_names)
    if given is not None:
        if given not in names:
            raise ColumnError(
                f"{rows.name} has no column {given!r} to name its rows by (--id). Its columns are {', '.join(names)}."
            )
        return given
    taken = {rows.label, *rows.columns.values()}
    free = {name.lower(): name for name in names if name not in taken or name.lower() in _ID_NAMES[:5]}
    return next((free[name] for name in _ID_NAMES if name in free and free[name] != rows.label), None)


def name_columns(rows: Rows, id_column: str | None = None) -> dict[str, str]:
    """``path`` and ``id``, the columns of a file that name its rows, to the columns of the source, as far as it has them.

    Raises:
        ColumnError: there is no column ``id_column``.
    """
    columns = {}
    role = next(iter(sorted(rows.media)), None)
    if role is not None:
        columns["path"] = rows.columns[role]
    if (found := id_column_of(rows, id_column)) is not None and found not in columns.values():
        columns["path" if found == NAME_COLUMN and "path" not in columns else "id"] = found
    if "path" in columns and not _has_paths(
        rows.dataset.select_columns([columns["path"]]).with_format("arrow"), columns["path"]
    ):
        del columns["path"]
    return columns


class RowColumns:
    """The columns of embedded rows in addition to the embedding."""

    def __init__(self, rows: Rows, store: Store, columns: Mapping[str, str]) -> None:
        self.kept, self.places, self.columns = store.kept, rows.places, columns
        self.labels = None if rows.label is None else _label_column(rows, store)
        self.view: Any = rows.dataset.select_columns(list(columns.values())).with_format("arrow") if columns else None

    def table(self, part: slice) -> Any:
        """Row number, names and label of some samples as a ``pyarrow.Table``."""
        import pyarrow as pa

        places = self.kept[part]
        columns = {"row": pa.array(places if self.places is None else self.places[places])}
        texts: dict[str, list[Any]] = {name: [] for name in self.columns}
        for start in range(0, len(places) if texts else 0, _NAMED):  # a column of files may hold the files themselves
            step = self.view[places[start : start + _NAMED].tolist()]
            for name, column in self.columns.items():
                texts[name].append(_texts(step.column(column)))
        columns |= {name: pa.chunked_array(parts) for name, parts in texts.items()}
        if self.labels is not None:
            columns["label"] = self.labels[part]
        return pa.table(columns)

    def joined(self, groups: Iterator[np.ndarray[Any, np.dtype[np.float32]]]) -> Iterator[Part]:
        """Groups of embeddings with the other columns of their rows."""
        start = 0
        for group in groups:
            yield self.table(slice(start, start + len(group))), group
            start += len(group)


def _has_paths(view: Any, column: str) -> bool:
    """Whether the first rows of a column of files have paths."""
    values = view[: min(len(view), 64)].column(column).to_pylist()
    return any(value.get("path") if isinstance(value, dict) else isinstance(value, str) and value for value in values)


def _texts(column: Any) -> Any:
    """A column of files as their paths; numbers and texts as they are; everything else as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.combine_chunks()
    if pa.types.is_struct(column.type):
        return pc.struct_field(column, "path")
    plain = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    return (
        column
        if any(is_kind(column.type) for is_kind in plain)
        else pa.array([_text(v) for v in column.to_pylist()], pa.string())
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _label_column(rows: Rows, store: Store) -> Any:
    """The labels of the samples of a store as an Arrow array."""
    import pyarrow as pa

    reader = rows.label_reader
    labels = reader.read(rows.dataset)[store.kept]
    there = has_label(labels)
    if reader.kind == "number":
        return pa.array(labels, mask=~there, type=pa.float64())
    if reader.kind == "class":
        return pa.array([reader.names[i] if i >= 0 else None for i in labels.tolist()], type=pa.string())
    named = [[reader.names[k] for k in np.flatnonzero(row)] if ok else None for row, ok in zip(labels, there, strict=True)]
    return pa.array(named, type=pa.list_(pa.string()))
