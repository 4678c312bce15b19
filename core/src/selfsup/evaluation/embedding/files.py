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
from selfsup.data.batches.work_division import work_division
from selfsup.errors import ConfigError
from selfsup.evaluation.embedding.row_columns import Part, RowColumns, name_columns
from selfsup.runtime.distributed import rank
from selfsup.runtime.files import atomic_write
from selfsup.runtime.module_mode import evaluation_mode
from selfsup.runtime.progress import Reporter
from selfsup.types import Batch

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

SUFFIXES = (".parquet", ".csv", ".npy")
_GROUP = 4_096
"""Rows of a parquet row group."""


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
    ``path`` if the rows are files, ``id`` if the source names its rows (``id_column``), ``embedding`` (D float32), and
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
        names: what :func:`~selfsup.evaluation.embedding.row_columns.name_columns` gives for all rows of the file.
        batch_size: samples at a time.
        autocast: type of the arithmetic; None: float32.
        reporter: shows the progress.
    """
    about = RowColumns(rows, store, names)
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
