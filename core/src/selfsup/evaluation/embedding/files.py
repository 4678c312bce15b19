"""Write embeddings to a file, batch by batch in constant memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from selfsup.data import EpochSampler, Loader, Rows, Sampler, Store
from selfsup.data.batches.sampler import DividedSampler
from selfsup.data.sources.columns.labels import has_label
from selfsup.data.sources.folders import NAME_COLUMN
from selfsup.errors import ColumnError, ConfigError
from selfsup.runtime.distributed import rank, work_division
from selfsup.runtime.files import atomic_write
from selfsup.runtime.module_mode import evaluation_mode
from selfsup.runtime.progress import Reporter
from selfsup.types import Batch

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

SUFFIXES = (".parquet", ".csv", ".npy")
_GROUP = 4_096
"""Rows of a parquet row group."""
_NAMED = 64
"""Rows whose names are read at once."""
Part = tuple[Any, np.ndarray[Any, np.dtype[np.float32]]]
"""Consecutive rows of a file: a ``pyarrow.Table`` of all columns but the embedding, and the embeddings [n, D]."""


def check_suffix(out: Path) -> None:
    """Refuse a file name without a known suffix.

    Raises:
        ConfigError: the suffix is not ``.parquet``, ``.csv`` or ``.npy``.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"Cannot tell the format of {out}: its name has to end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}."
        )


def names_file(out: Path) -> Path:
    """The file with the names of the rows of an ``.npy`` file: ``e.rows.csv`` for ``e.npy``."""
    return out.with_name(f"{out.stem}.rows.csv")


def write_embeddings(
    encoder: Encoder,
    store: Store,
    rows: Rows,
    out: Path,
    *,
    batch_size: int,
    autocast: torch.dtype | None,
    reporter: Reporter,
    id_column: str | None = None,
) -> Path:
    """Write the embedding of each sample, in the order of the rows; the file is written completely or not at all.

    The columns of a ``.parquet`` file are ``row`` (index in the source, which differs from the line if rows were unreadable),
    ``path`` if the rows are files, ``id`` if the source names its rows (:func:`id_column_of`), ``embedding`` (D float32), and
    ``label`` if the source has labels: a class name, a list of them, or a number; null for a row without. A ``.csv`` file has
    the same columns, with ``e0``, ``e1``, ... for the embedding. A ``.npy`` file is [N, D] float32, and :func:`names_file` has
    the other columns, one line per row.

    Raises:
        ConfigError: the format is unknown.
        ColumnError: there is no column ``id_column``.
        StorageError: the disk is full or cannot be written.
    """
    check_suffix(out)
    if rank() > 0:  # the first process writes what all of them compute
        for _ in _embeddings(encoder, store, batch_size, autocast, reporter):
            pass
        return out
    parts = embedded_parts(
        encoder, store, rows, name_columns(rows, id_column), batch_size=batch_size, autocast=autocast, reporter=reporter
    )
    return write_parts(out, parts, encoder.embed_dim)


def embedded_parts(
    encoder: Encoder,
    store: Store,
    rows: Rows,
    names: Mapping[str, str],
    *,
    batch_size: int,
    autocast: torch.dtype | None,
    reporter: Reporter,
) -> Iterator[Part]:
    """The parts of a file of embeddings, in the order of the rows.

    Args:
        encoder: in any mode.
        store: the processed rows.
        rows: the rows.
        names: what :func:`name_columns` gives for all rows of the file.
        batch_size: samples at a time.
        autocast: type of the arithmetic; None: float32.
        reporter: shows the progress.
    """
    about = _About(rows, store, names)
    return about.joined(_grouped(_embeddings(encoder, store, batch_size, autocast, reporter)))


def write_parts(out: Path, parts: Iterator[Part], dim: int) -> Path:
    """Write parts to a file as :func:`write_embeddings` does.

    Args:
        out: a path with a known suffix.
        parts: at least one.
        dim: D.
    """
    if out.suffix.lower() == ".npy":
        # The lines with the names are written along with the numbers, and each file appears as a whole.
        return atomic_write(
            out,
            lambda file: atomic_write(names_file(out), lambda names: _write_csv(names, _write_npy(file, parts, dim))),
        )
    if out.suffix.lower() == ".csv":
        return atomic_write(out, lambda file: _write_csv(file, parts))
    return atomic_write(out, lambda file: _write_parquet(file, parts, dim))


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


class _About:
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


def _embeddings(
    encoder: Encoder, store: Store, batch_size: int, autocast: torch.dtype | None, reporter: Reporter
) -> Iterator[Tensor]:
    """Float32 embeddings of consecutive samples, on the CPU."""
    sampler: Sampler = EpochSampler(len(store), batch_size, drop_last=False, shuffle=False)
    count, division = len(sampler), work_division()
    if division is not None:
        sampler = DividedSampler(sampler, division)
    outputs = (
        _embedded(encoder, batch, autocast) for batch in Loader(store, encoder.processor, sampler, encoder.device).epoch(0)
    )
    reporter.start("embedding", len(store), unit="rows")
    done = 0
    for embeddings in outputs if division is None else division.outputs(outputs, count):
        yield embeddings
        done += len(embeddings)
        reporter.advance(done)


def _embedded(encoder: Encoder, batch: Batch, autocast: torch.dtype | None) -> Tensor:
    with evaluation_mode(encoder), torch.autocast(encoder.device.type, dtype=autocast, enabled=autocast is not None):
        embeddings: Tensor = encoder(batch)
        return embeddings.float().cpu()


def _write_npy(file: BinaryIO, parts: Iterator[Part], dim: int) -> Iterator[tuple[Any, None]]:
    """Write the numbers of the parts as they are taken; yields their other columns."""
    file.write(_npy_header(0, dim))
    n = 0
    for table, group in parts:
        file.write(group.astype("<f4", copy=False).tobytes())
        n += len(group)
        yield table, None
    file.seek(0)
    file.write(_npy_header(n, dim))


def _npy_header(n: int, dim: int) -> bytes:
    """The header of an array [n, dim] of float32; it is equally long for every n."""
    held = io.BytesIO()
    np.lib.format.write_array_header_1_0(held, {"descr": "<f4", "fortran_order": False, "shape": (n, dim)})
    return held.getvalue()


def _write_parquet(file: BinaryIO, groups: Iterator[Part], dim: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        for table, group in groups:
            values = pa.FixedSizeListArray.from_arrays(pa.array(group.reshape(-1)), dim)
            place = table.column_names.index("label") if "label" in table.column_names else table.num_columns
            table = table.add_column(place, "embedding", values)
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _write_csv(file: BinaryIO, groups: Iterator[Part] | Iterator[tuple[Any, None]]) -> None:
    """A line a row; the labels of a row that has several are joined by semicolons."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    began = False
    for table, group in groups:
        names = [name for name in table.column_names if name != "label"]
        with_label = "label" in table.column_names
        if not began:
            places = [f"e{place}" for place in range(0 if group is None else group.shape[1])]
            writer.writerow([*names, *(["label"] if with_label else []), *places])
            began = True
        columns = [table.column(name).to_pylist() for name in names]
        if with_label:
            columns.append([";".join(item) if isinstance(item, list) else item for item in table.column("label").to_pylist()])
        for place, values in enumerate(zip(*columns, strict=True)):
            writer.writerow([*values, *(() if group is None else (f"{number:.9g}" for number in group[place].tolist()))])
    text.flush()
    text.detach()


def _grouped(parts: Iterator[Tensor]) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    """Join batches to row groups."""
    held: list[Tensor] = []
    for part in parts:
        held.append(part)
        if sum(len(item) for item in held) >= _GROUP:
            yield torch.cat(held).numpy()
            held = []
    if held:
        yield torch.cat(held).numpy()
