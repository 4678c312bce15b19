"""Evaluate, fine-tune and embed: ``selfsup.evaluate``, ``selfsup.finetune`` and ``selfsup.embed``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import torch

from selfsup.artifacts import Encoder, EncoderLike, ResultRecord, RunDirectory, load
from selfsup.data import TableFormat, prepare, row_hashes
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.errors import ConfigError
from selfsup.evaluation.choose import choose_evaluators
from selfsup.evaluation.embedding_files import check_suffix, id_column_of, write_embeddings
from selfsup.evaluation.evaluators.finetune import finetune_encoder, score
from selfsup.evaluation.evaluators.finetune_config import FinetuneConfig
from selfsup.evaluation.finetuned_model import FinetunedModel
from selfsup.evaluation.record import record_of
from selfsup.evaluation.source_rows import has_labels, load_rows, rows_of_part, splits_of
from selfsup.evaluation.splits import load_splits
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.file_lock import lock_folder
from selfsup.runtime.precision import resolve_precision
from selfsup.runtime.progress import make_reporter, show_findings, tell_bad_rows, tell_remarks
from selfsup.training.device.devices import process_ranks
from selfsup.validation import check_effect, validated

DEFAULT_EVALUATORS = ("knn", "linear")
Source = Any
"""What :func:`selfsup.data.load_source` takes: a name, a path, ``hf://owner/name``, or an object that holds rows."""


class CommonOptions(TypedDict, total=False):
    """Options of :func:`evaluate`, :func:`finetune` and :func:`embed` alike."""

    label: str | None
    """The label column; None: it is found."""
    label_kind: LabelKind | None
    """What the label column holds: ``class``, ``classes`` (several per row: a list, or a text separated by ``|``, ``;`` or
    ``,``) or ``number``; None: it is found."""
    unlabelled: Sequence[str]
    """Labels that mean that a row has no label, in addition to null, NaN and empty texts; such rows are left out."""
    columns: Mapping[str, str] | None
    """Role to column; None: they are found."""
    table: TableFormat | Mapping[str, Any] | None
    """Format of a text table, such as ``{"separator": ";"}`` (:class:`~selfsup.data.TableFormat`); None: it is found."""
    max_bad_rows: float
    """Share of the rows that may be unreadable, 0 to 1 (default 0.01); unreadable rows are left out."""
    checkpoint: str | None
    """``best``: use the weights with which the run's validation probe did best, see :func:`selfsup.load`."""
    part: str | None
    """For an encoder of rows with several parts: use the encoder of this part (:meth:`Encoder.part`), on joined rows that have
    it or on rows of its own modality. Rows without the part are left out and counted in a message."""
    progress: bool
    """Show progress on stderr (default False)."""


def evaluate(
    encoder: EncoderLike,
    data: Source,
    test: Source = None,
    *,
    evaluators: str | Sequence[str] = DEFAULT_EVALUATORS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    precision: Literal["auto", "32", "bf16", "16"] = "32",
    out: str | Path | None = None,
    **common: Unpack[CommonOptions],
) -> list[ResultRecord]:
    """Measure an encoder.

    Args:
        encoder: an encoder, or what :func:`selfsup.load` takes; an encoder from a path goes to the GPU if there is one.
        data: source of the rows that probes are fitted on.
        test: source of the test rows. None: the rows that pretraining held out (``holdout``) if this is its data, else the
            source's test split, else its validation split, else a fifth of each class. The record names them, and
            ``pretrained_share`` is the share of them that was pretrained on.
        evaluators: one id or several, see ``selfsup list evaluators``.
        options: evaluator id to its options, for example ``{"knn": {"k": 200}}``.
        seed: of every random choice; the same seed gives the same numbers on the same machine.
        precision: arithmetic of the embeddings.
        out: folder of the records; None: the ``results/`` of the run if ``encoder`` is a run's folder, else none is written.
        **common: ``label``, ``label_kind``, ``unlabelled``, ``columns``, ``table``, ``max_bad_rows``, ``checkpoint``, ``part``,
            ``progress``: see :class:`~selfsup.evaluation.CommonOptions`.

    Returns:
        One record per evaluator, in the order given.

    Raises:
        UnknownIdError: there is no such evaluator.
        ConfigError: an option is not allowed, or an evaluator is for another modality.
        DataError: the rows cannot be used.
    """
    chosen = choose_evaluators([evaluators] if isinstance(evaluators, str) else evaluators, options or {})
    needs_label = any(spec.needs_labels for spec, _, _ in chosen)
    if (common.get("label_kind") or common.get("unlabelled")) and not needs_label and common.get("label") is None:
        raise ConfigError("--label-kind and --unlabelled have no effect: none of the evaluators needs labels. Leave them out.")
    results = _results_folder(encoder, out)
    encoder = _loaded(encoder, common.pop("checkpoint", None))
    part = common.get("part")
    measured = encoder if part is None else encoder.part(part)
    for spec, _, _ in chosen:
        if spec.modality not in ("", measured.modality):
            whole = " Leave --part out, to measure all parts." if spec.modality == encoder.modality else ""
            raise ConfigError(
                f"The evaluator {spec.id!r} is for {spec.modality}, and this encoder is for {measured.modality}.{whole}"
            )
    records = []
    with make_reporter(common.pop("progress", False)) as reporter:
        splits = load_splits(
            encoder,
            data,
            test,
            needs_label=needs_label,
            kinds={spec.id: spec.label_kinds for spec, _, _ in chosen if spec.needs_labels},
            seed=seed,
            precision=resolve_precision(precision, encoder.device.type),
            reporter=reporter,
            **common,  # type: ignore[misc]  # without the keys that were taken out
        )
        reporter.start("evaluating", len(chosen), unit="evaluators")
        for done, (spec, config, evaluator) in enumerate(chosen, start=1):
            began = time.perf_counter()
            metrics = evaluator.evaluate(measured, splits.train, splits.test, seed=seed)
            record = record_of(measured, splits, spec.id, config, metrics, seed, time.perf_counter() - began)
            if results is not None:
                record.write(results)
            records.append(record)
            reporter.advance(done)
    return records


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning gives."""

    model: FinetunedModel
    """The fine-tuned encoder and its head, which predict labels."""
    record: ResultRecord
    """Its score on the test rows."""


def finetune(
    encoder: EncoderLike,
    data: Source,
    test: Source = None,
    *,
    fraction: float = 1.0,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **common: Unpack[CommonOptions],
) -> Finetuned:
    """Train all weights of a copy of an encoder, and a linear head, on labelled rows.

    Processes that torchrun or srun started share each batch; the first one writes.

    Args:
        encoder: an encoder, or what :func:`selfsup.load` takes; it stays unchanged.
        data: source of the labelled training rows.
        test: source of the test rows, as for :func:`evaluate`.
        fraction: share of the labels to use, equally many from each class (for numbers: from each tenth).
        options: of :class:`~selfsup.evaluation.FinetuneConfig`, for example ``{"epochs": 10}``.
        seed: of every random choice.
        out: folder for the fine-tuned encoder and its head; None: nothing is written.
        **common: ``label``, ``label_kind``, ``unlabelled``, ``columns``, ``table``, ``max_bad_rows``, ``checkpoint``, ``part``,
            ``progress``: see :class:`~selfsup.evaluation.CommonOptions`.

    Raises:
        ConfigError: an option is not allowed, or ``fraction`` leaves a class without a row.
        DataError: the rows cannot be used.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    config = validated(FinetuneConfig, {**(options or {}), "fraction": fraction}, what="finetune")
    check_effect(config, options or {}, prefix="finetune.")
    results = _results_folder(encoder, None)
    encoder = _loaded(encoder, common.pop("checkpoint", None))
    first = process_ranks()[0] == 0
    lock = lock_folder(out, "fine-tuning") if first and out is not None else nullcontext()
    with lock, make_reporter(common.pop("progress", False) and first) as reporter:
        splits = load_splits(encoder, data, test, needs_label=True, seed=seed, precision="32", reporter=reporter, **common)  # type: ignore[misc]  # as above
        encoder = encoder if splits.part is None else encoder.part(splits.part)
        began = time.perf_counter()
        model = finetune_encoder(encoder, splits.train, config, seed=seed, reporter=reporter)
        metrics = score(model, splits.test)
        record = record_of(encoder, splits, "finetune", config, metrics, seed, time.perf_counter() - began)
        if (learned := model.encoder.pretraining_rows) is not None:
            labelled = row_hashes(splits.train.rows, learned.roles) if splits.train.rows is not None else np.zeros(0, np.uint64)
            model.encoder.pretraining_rows = learned.together(labelled)
        model.encoder.metadata = {**encoder.metadata, "finetuned_on": splits.name, "finetuned_fraction": fraction}
        if first and results is not None:
            record.write(results)
        if first and out is not None:
            model.save(out)
    return Finetuned(model, record)


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
    encoder = _loaded(encoder, common.pop("checkpoint", None))
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


def _loaded(encoder: EncoderLike, checkpoint: str | None) -> Encoder:
    """The encoder, moved to the GPU if there is one and it was not loaded before."""
    usual = None if isinstance(encoder, Encoder) else f"cuda:{process_ranks()[1]}" if torch.cuda.is_available() else "cpu"
    return load(encoder, checkpoint=checkpoint, device=usual)


def _results_folder(encoder: EncoderLike, out: str | Path | None) -> Path | None:
    """Where records go: ``out``, or the results folder of the encoder's run."""
    if out is not None:
        return Path(out)
    if isinstance(encoder, Encoder) or not isinstance(encoder, str | os.PathLike):
        return None
    folder = Path(encoder).expanduser()
    return RunDirectory.open(folder).results if RunDirectory.is_run(folder) else None
