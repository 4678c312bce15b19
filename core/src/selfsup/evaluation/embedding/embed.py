"""Write the embedding of every row of a source to a file: ``selfsup.embed``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

import torch

from selfsup.artifacts import EncoderLike
from selfsup.data import prepare
from selfsup.evaluation.common_options import CommonOptions, Source, loaded
from selfsup.evaluation.embedding.files import check_suffix, id_column_of, write_embeddings
from selfsup.evaluation.source_rows import has_labels, load_rows, rows_of_part, splits_of
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.precision import resolve_precision
from selfsup.runtime.progress import make_reporter, show_findings, tell_bad_rows, tell_remarks


@dataclass(frozen=True)
class EmbeddingFile:
    """What :func:`embed` wrote."""

    path: Path
    rows: int
    """N, rows that were embedded."""
    dim: int
    """D."""
    bad_rows: int
    """Rows that could not be read and are not in the file."""
    left_out: tuple[tuple[int, str], ...] = ()
    """Place in the source of each of them, and why."""


def embed(
    encoder: EncoderLike,
    data: Source,
    out: str | Path,
    *,
    split: str | None = None,
    id_column: str | None = None,
    batch_size: int | None = None,
    precision: Literal["auto", "32", "bf16", "16"] = "32",
    **common: Unpack[CommonOptions],
) -> EmbeddingFile:
    """Write the embedding of every row of a source to a file; memory does not grow with the number of rows.

    For embeddings in memory, and for the embedding of a part in the joint space, see :meth:`selfsup.Encoder.embed`.

    Args:
        encoder: an encoder, or what :func:`selfsup.load` takes.
        data: source of the rows.
        out: ``FILE.parquet`` or ``FILE.csv`` with the columns ``row``, ``path`` (for rows that are files), ``id`` (if the
            source names its rows), the embedding and, if there are labels, ``label``; or ``FILE.npy``, [N, D] float32, and
            ``FILE.rows.csv`` with the other columns.
        split: which split of the source; None: ``train`` if it has one, else its first.
        id_column: the column that names the rows; None: ``id``, ``key``, ``file_name``, ... if there is one.
        batch_size: rows at a time; None: what suits the modality.
        precision: arithmetic of the computation.
        **common: ``label``, ``label_kind``, ``unlabelled``, ``columns``, ``table``, ``max_bad_rows``, ``checkpoint``, ``part``,
            ``progress``: see :class:`~selfsup.evaluation.CommonOptions`.

    Raises:
        ConfigError: the file's suffix is unknown.
        DataError: the rows cannot be used.
        StorageError: the disk is full or cannot be written.
    """
    check_suffix(Path(out))
    encoder = loaded(encoder, common.pop("checkpoint", None))
    progress, max_bad_rows = common.pop("progress", False), common.pop("max_bad_rows", 0.01)
    part = common.get("part")
    own = encoder if part is None else encoder.part(part)
    if split is None:
        splits = splits_of(encoder, data, part)
        split = "train" if "train" in splits else splits[0]
    rows = load_rows(encoder, data, split=split, **common)
    if common.get("label") is None and not has_labels(rows):
        rows = rows.without_labels()
    id_column_of(rows, id_column)  # a wrong name is found before minutes of decoding
    arithmetic = resolve_precision(precision, own.device.type)
    autocast = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}[arithmetic]
    with make_reporter(progress) as reporter:
        rows = rows_of_part(rows, part, reporter.message)
        title = f"Data: {rows.name} ({rows.split}), {len(rows)} rows"
        show_findings(reporter, title, rows.findings.joined(own.processor.findings()))
        reporter.start("reading rows", len(rows), unit="rows")
        with caught_noise(reporter.message):
            store = prepare(rows, own.processor, max_bad_rows=max_bad_rows, progress=lambda done, _: reporter.advance(done))
        if progress:  # the result holds them
            tell_bad_rows(reporter, store.bad_rows, f"{len(rows)} rows of {rows.name}")
        tell_remarks(reporter, store.remarks, f"{len(rows)} rows of {rows.name}")
        size = batch_size or own.processor.batch_size
        path = write_embeddings(
            own, store, rows, Path(out), batch_size=size, autocast=autocast, reporter=reporter, id_column=id_column
        )
    return EmbeddingFile(path, len(store), own.embed_dim, len(store.bad_rows), tuple(store.bad_rows))
