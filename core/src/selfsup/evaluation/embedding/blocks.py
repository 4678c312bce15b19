"""Embed blocks of consecutive rows in worker processes, on this machine or on others."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from selfsup.artifacts import Encoder, load
from selfsup.data import Rows, prepare
from selfsup.data.bad_rows import encode_list
from selfsup.data.sources.columns.labels import LabelReader
from selfsup.errors import BadRowError, SourceError, TooManyBadRowsError
from selfsup.evaluation.embedding.files import embedded_parts
from selfsup.evaluation.embedding.row_columns import Part, name_columns
from selfsup.evaluation.source_rows import load_rows, rows_of_part
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.files import scratch_folder, storage_errors
from selfsup.runtime.precision import AUTOCAST, resolve_precision
from selfsup.runtime.progress import Silent
from selfsup.runtime.temporary_files import temporary_folder


@dataclass(frozen=True)
class Work:
    """What a worker has to know to embed any block of a source."""

    encoder: Mapping[str, bytes]
    """The files of its folder."""
    rows: Rows | None
    """The rows, if they are in memory; None: the worker loads them from ``source``."""
    source: str
    """As the user named it; empty with ``rows``."""
    options: Mapping[str, Any]
    """Of :func:`~selfsup.evaluation.source_rows.load_rows`."""
    reader: LabelReader | None
    """How labels are read; None: there are none."""
    fingerprint: str
    """Of all rows: a worker that reads others stops."""
    names: Mapping[str, str]
    """See :func:`~selfsup.evaluation.embedding.row_columns.name_columns`."""
    part: str | None
    batch_size: int
    precision: Literal["auto", "32", "bf16", "16"]
    threads: int
    """CPU threads of a worker."""
    folder: str
    """Relative paths start here."""
    environment: Mapping[str, str]
    """``SELFSUP_...`` variables, for workers that lack them."""


def work_of(
    encoder: Encoder,
    rows: Rows,
    source: str | None,
    options: Mapping[str, Any],
    *,
    id_column: str | None,
    batch_size: int,
    precision: Literal["auto", "32", "bf16", "16"],
    threads: int,
) -> Work:
    """What workers have to know.

    Args:
        encoder: for the rows as the source has them; with a ``part`` among the options, the encoder of all parts.
        rows: of the part, if there is one.
        source: that workers load the rows from; None: they get ``rows`` themselves.
        options: that loaded the rows (:func:`~selfsup.evaluation.source_rows.load_rows`).
        id_column: the column that names the rows, or None.
        batch_size: samples at a time.
        precision: of the forward pass; each worker resolves ``auto`` for its device.
        threads: CPU threads of a worker.
    """
    return Work(
        encoder=encoder_files(encoder),
        rows=rows if source is None else None,
        source=source or "",
        options=options,
        reader=None if rows.label is None else rows.label_reader,
        fingerprint=rows.fingerprint,
        names=name_columns(rows, id_column),
        part=options.get("part"),
        batch_size=batch_size,
        precision=precision,
        threads=threads,
        folder=str(Path.cwd()),
        environment={name: value for name, value in os.environ.items() if name.startswith("SELFSUP_")},
    )


@dataclass(frozen=True)
class Block:
    """The embeddings of the rows from ``start`` to ``stop``."""

    start: int
    stop: int
    parts: tuple[Part, ...]
    """Parts of the file; empty if all rows are bad."""
    bad_rows: tuple[tuple[int, str], ...] = ()
    """Index and reason, as :attr:`selfsup.data.Store.bad_rows`."""
    remarks: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(embeddings) for _, embeddings in self.parts)


def encoder_files(encoder: Encoder) -> dict[str, bytes]:
    """The files of a saved encoder, by their paths in its folder."""
    with scratch_folder() as scratch:
        folder = encoder.save(scratch / "encoder")
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _loaded_encoder(files: Mapping[str, bytes]) -> Encoder:
    """The encoder of :func:`encoder_files`, on the GPU if the worker has one."""
    with scratch_folder() as name:
        for path, content in files.items():
            file = name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return load(name, device="cuda" if torch.cuda.is_available() else "cpu")


class BlockEmbedder:
    """Holds an encoder and the rows of a source in a worker process."""

    def __init__(self, work: Work) -> None:
        """Load the encoder and the rows.

        Raises:
            SourceError: the source is missing here, or has other rows than where the embedding was started.
            ArtifactError: the encoder cannot be loaded.
            ConfigError: the device lacks the precision.
        """
        for name, value in work.environment.items():
            os.environ.setdefault(name, value)
        if Path(work.folder).is_dir():
            os.chdir(work.folder)
        torch.set_num_threads(work.threads)
        self.work = work
        encoder = _loaded_encoder(work.encoder)
        self.encoder = encoder if work.part is None else encoder.part(work.part)
        self.autocast = AUTOCAST[resolve_precision(work.precision, self.encoder.device.type)]
        self.rows = self._load(encoder) if work.rows is None else work.rows

    def _load(self, encoder: Encoder) -> Rows:
        work = self.work
        try:
            rows = load_rows(encoder, work.source, **work.options)
        except SourceError as error:
            raise SourceError(f"On {platform.node()}: {error} Every machine has to see the source at the same path.") from error
        rows = rows.without_labels() if work.reader is None else rows.read_by(work.reader)
        rows = rows_of_part(rows, work.part, lambda line: None)
        if rows.fingerprint != work.fingerprint:
            raise SourceError(
                f"The rows of {work.source} differ between the process that started the embedding and its worker. Every "
                "machine has to see the same files, and they must not change meanwhile."
            )
        return rows

    def embed(self, start: int, stop: int) -> Block:
        """The embeddings of some rows.

        Args:
            start: index of the first row.
            stop: index after the last row.

        Raises:
            StorageError: the disk of the cache is full or cannot be written.
        """
        rows = self.rows.select(range(start, stop))
        place = cache_root() / "embedding" / "block"
        with contextlib.ExitStack() as stack:
            with storage_errors(place.parent, hint="Samples are kept below the folder that SELFSUP_CACHE names."):
                folder = stack.enter_context(temporary_folder(place))
            return self._embedded(rows, start, folder)

    def _embedded(self, rows: Rows, start: int, folder: Path) -> Block:
        stop = start + len(rows)
        try:
            store = prepare(rows, self.encoder.processor, max_bad_rows=1, cache_dir=folder, workers=self.work.threads)
        except TooManyBadRowsError:  # all of them
            return Block(start, stop, (), tuple(self._reasons(rows, start)))
        parts = embedded_parts(
            self.encoder,
            store,
            rows,
            self.work.names,
            batch_size=self.work.batch_size,
            autocast=self.autocast,
            reporter=Silent(),
        )
        bad = tuple((start + index, reason) for index, reason in store.bad_rows)
        return Block(start, stop, tuple(parts), bad, dict(store.remarks))

    def _reasons(self, rows: Rows, start: int) -> list[tuple[int, str]]:
        """Why each row of a block without a good one is bad."""
        results = [encode_list(self.encoder.processor, [row])[0] for row in rows]
        return [
            (start + index, f"{rows.describe(index)}: {result if isinstance(result, BadRowError) else 'it is bad'}")
            for index, result in enumerate(results)
        ]


def block_places(rows: int, size: int) -> list[tuple[int, int]]:
    """(start, stop) of consecutive blocks that hold every row once."""
    edges = [*range(0, rows, size), rows]
    return [(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]
