"""Writing embeddings to a file, batch by batch, so that memory does not grow with the number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from selfsup.data import EpochSampler, Loader, Rows, Store
from selfsup.data.labels import has_label
from selfsup.errors import ConfigError
from selfsup.evaluation.views import frozen
from selfsup.files import atomic_write
from selfsup.training.progress import Reporter

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

SUFFIXES = (".parquet", ".npy")
_GROUP = 4_096
"""Rows of a parquet row group."""


def check_suffix(out: Path) -> None:
    """Refuse a file name whose ending says no format.

    Raises:
        ConfigError: it ends in neither ``.parquet`` nor ``.npy``.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"Cannot tell the format of {out}: its name has to end in {' or '.join(SUFFIXES)}.")


def write_embeddings(
    encoder: Encoder, store: Store, rows: Rows, out: Path, *, batch_size: int, autocast: torch.dtype | None, reporter: Reporter
) -> Path:
    """Write the embedding of each sample, in the order of the rows, in full or not at all.

    A ``.npy`` file is [N, D] float32. A ``.parquet`` file has the columns ``row`` (place in the source, which differs from the
    line where rows could not be read), ``embedding`` (D float32), and ``label`` where the source has labels: a class name, a
    list of them, or a number; null where a row has none.

    Raises:
        ConfigError: the format is unknown.
        StorageError: the disk is full or cannot be written.
    """
    check_suffix(out)
    parts = _embeddings(encoder, store, batch_size, autocast, reporter)
    if out.suffix.lower() == ".npy":
        return atomic_write(out, lambda file: _write_npy(file, parts, len(store), encoder.embed_dim))
    labels = None if rows.label is None else _label_column(rows, store)
    return atomic_write(out, lambda file: _write_parquet(file, parts, store, labels, encoder.embed_dim))


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
    sampler = EpochSampler(len(store), batch_size, drop_last=False, shuffle=False)
    reporter.start("embedding", len(store), unit="rows")
    done = 0
    for batch in Loader(store, encoder.processor, sampler, encoder.device).epoch(0):
        with frozen(encoder), torch.autocast(encoder.device.type, dtype=autocast, enabled=autocast is not None):
            embeddings = encoder(batch)
        yield embeddings.float().cpu()
        done += len(embeddings)
        reporter.advance(done)


def _write_npy(file: BinaryIO, parts: Iterator[Tensor], n: int, dim: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, dim)}
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
        file.write(part.numpy().astype("<f4", copy=False).tobytes())


def _write_parquet(file: BinaryIO, parts: Iterator[Tensor], store: Store, labels: Any, dim: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [pa.field("row", pa.int64()), pa.field("embedding", pa.list_(pa.float32(), dim))]
    if labels is not None:
        fields.append(pa.field("label", labels.type))
    with pq.ParquetWriter(file, pa.schema(fields)) as writer:
        start = 0
        for group in _grouped(parts):
            rows = slice(start, start + len(group))
            columns = [
                pa.array(store.kept[rows]),
                pa.FixedSizeListArray.from_arrays(pa.array(group.reshape(-1)), dim),
            ]
            if labels is not None:
                columns.append(labels[rows])
            writer.write_table(pa.table(columns, schema=pa.schema(fields)))
            start += len(group)


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
