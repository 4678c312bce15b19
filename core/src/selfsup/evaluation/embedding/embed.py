"""Write the embedding of every row of a source to a file: ``selfsup.embed``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

from selfsup.artifacts import Encoder, EncoderLike
from selfsup.data import Rows, prepare
from selfsup.data.store.prepare import check_bad_rows, check_share, no_good_row
from selfsup.errors import ConfigError
from selfsup.evaluation.common_options import CommonOptions, Source, loaded
from selfsup.evaluation.embedding.blocks import Work, work_of
from selfsup.evaluation.embedding.files import check_suffix, write_embeddings, write_parts
from selfsup.evaluation.embedding.ray_data import RayConfig, check_ray, ray_blocks
from selfsup.evaluation.embedding.row_columns import Part, id_column_of
from selfsup.evaluation.on_devices import call_on_devices, starts_processes, together
from selfsup.evaluation.source_rows import has_labels, load_rows, rows_of_part, splits_of
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.precision import AUTOCAST, resolve_precision
from selfsup.runtime.progress import Reporter, Silent, make_reporter, show_findings, tell_bad_rows, tell_remarks
from selfsup.training.device.devices import process_ranks
from selfsup.validation import validated


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
    engine: Literal["local", "ray"] = "local",
    engine_options: Mapping[str, Any] | None = None,
    devices: int | None = None,
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
        engine: ``local`` embeds in this process; ``ray`` by workers of a Ray cluster (``pip install "selfsup[ray]"``), to the
            same file. Every machine has to see the source at the same path, if it is one.
        engine_options: of the engine ``ray``, such as ``{"workers": 8}``
            (:class:`~selfsup.evaluation.embedding.ray_data.RayConfig`); ``local`` has none.
        devices: processes on this machine, one per GPU if there are GPUs; they divide the batches, and the file is that of one.
            None: processes that torchrun or srun started, else this one; all of them make this call together.
        **common: ``label``, ``label_kind``, ``unlabelled``, ``columns``, ``table``, ``max_bad_rows``, ``checkpoint``, ``part``,
            ``progress``: see :class:`~selfsup.evaluation.CommonOptions`.

    Raises:
        ConfigError: the file's suffix, the engine or one of its options is unknown, or Ray is not installed.
        RunError: workers of Ray died too often, or one of several processes did not make the call.
        DataError: the rows cannot be used.
        StorageError: the disk is full or cannot be written.
    """
    check_suffix(Path(out))
    if engine != "local" and devices is not None:
        raise ConfigError(f"devices has no effect on the engine {engine}, whose option workers says how many processes embed.")
    ray = _ray_config(engine, engine_options or {})
    check_share(common.get("max_bad_rows", 0.01))
    if starts_processes(devices):
        given = {"out": out, "split": split, "id_column": id_column, "batch_size": batch_size, "precision": precision}
        return _file_of(call_on_devices(f"{__name__}:embed_as_worker", devices or 1, encoder, data, **given, **common))
    encoder = loaded(encoder, common.pop("checkpoint", None))
    first = process_ranks()[0] == 0
    progress, max_bad_rows = common.pop("progress", False) and first, common.pop("max_bad_rows", 0.01)
    part = common.get("part")
    own = encoder if part is None else encoder.part(part)
    if split is None:
        splits = splits_of(encoder, data, part)
        split = "train" if "train" in splits else splits[0]
    rows = load_rows(encoder, data, split=split, **common)
    if common.get("label") is None and not has_labels(rows):
        rows = rows.without_labels()
    id_column_of(rows, id_column)  # a wrong name is found before minutes of decoding
    with make_reporter(progress) as reporter:
        rows = rows_of_part(rows, part, reporter.message)
        title = f"Data: {rows.name} ({rows.split}), {len(rows)} rows"
        show_findings(reporter, title, rows.findings.joined(own.processor.findings()))
        size = batch_size or own.processor.batch_size
        if ray is None:
            done = _embed_here(own, rows, Path(out), size, precision, id_column, max_bad_rows, reporter)
        else:
            options = {"split": split, **common}
            source = os.fspath(data) if isinstance(data, str | os.PathLike) else None
            threads = max(int(ray.num_cpus), 1)
            work = work_of(
                encoder, rows, source, options, id_column=id_column, batch_size=size, precision=precision, threads=threads
            )
            done = _embed_on_ray(work, own.embed_dim, rows, Path(out), ray, max_bad_rows, reporter)
    return done


def _ray_config(engine: str, options: Mapping[str, Any]) -> RayConfig | None:
    """The options of the engine ``ray``; None for ``local``."""
    if engine == "local":
        if options:
            raise ConfigError(f"The engine local has no option {next(iter(options))!r}.")
        return None
    if engine != "ray":
        raise ConfigError(f"engine={engine!r} is not allowed; it is local or ray.")
    check_ray()
    return validated(RayConfig, options, what="engine 'ray'")


def _embed_here(
    encoder: Encoder,
    rows: Rows,
    out: Path,
    batch_size: int,
    precision: Literal["auto", "32", "bf16", "16"],
    id_column: str | None,
    max_bad_rows: float,
    reporter: Reporter,
) -> EmbeddingFile:
    """Embed in this process."""
    autocast = AUTOCAST[resolve_precision(precision, encoder.device.type)]
    reporter.start("reading rows", len(rows), unit="rows")
    with caught_noise(reporter.message):
        store = prepare(rows, encoder.processor, max_bad_rows=max_bad_rows, progress=lambda done, _: reporter.advance(done))
    if not isinstance(reporter, Silent):  # the result holds them
        tell_bad_rows(reporter, store.bad_rows, f"{len(rows)} rows of {rows.name}")
    tell_remarks(reporter, store.remarks, f"{len(rows)} rows of {rows.name}")
    with together(encoder.device):
        path = write_embeddings(
            encoder, store, rows, out, batch_size=batch_size, autocast=autocast, reporter=reporter, id_column=id_column
        )
    return EmbeddingFile(path, len(store), encoder.embed_dim, len(store.bad_rows), tuple(store.bad_rows))


def _embed_on_ray(
    work: Work, dim: int, rows: Rows, out: Path, config: RayConfig, max_bad_rows: float, reporter: Reporter
) -> EmbeddingFile:
    """Embed by workers of a Ray cluster; this process writes."""
    bad: list[tuple[int, str]] = []
    remarks: Counter[str] = Counter()
    kept = 0

    def parts() -> Iterator[Part]:
        nonlocal kept
        reporter.start("embedding", len(rows), unit="rows")
        with closing(ray_blocks(work, len(rows), config, reporter.message)) as blocks:
            for block in blocks:
                bad.extend(block.bad_rows)
                check_bad_rows(bad, rows, max_bad_rows, named=True)
                remarks.update(block.remarks)
                kept += len(block)
                yield from block.parts
                reporter.advance(block.stop)
        if not kept:
            raise no_good_row(rows, bad)

    path = write_parts(out, parts(), dim)
    if not isinstance(reporter, Silent):
        tell_bad_rows(reporter, bad, f"{len(rows)} rows of {rows.name}")
    tell_remarks(reporter, remarks, f"{len(rows)} rows of {rows.name}")
    return EmbeddingFile(path, kept, dim, len(bad), tuple(bad))


def embed_as_worker(**options: Any) -> dict[str, Any]:
    """The result of :func:`embed` as JSON values, for :func:`~selfsup.evaluation.on_devices.call_on_devices`."""
    file = asdict(embed(**options))
    return {**file, "path": str(file["path"])}


def _file_of(values: dict[str, Any]) -> EmbeddingFile:
    """What :func:`embed_as_worker` gave."""
    left_out = tuple((int(place), str(why)) for place, why in values["left_out"])
    return EmbeddingFile(**{**values, "path": Path(values["path"]), "left_out": left_out})
