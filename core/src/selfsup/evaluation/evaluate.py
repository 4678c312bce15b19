"""Evaluate and fine-tune: ``selfsup.evaluate`` and ``selfsup.finetune``."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from selfsup.artifacts import Encoder, EncoderLike, ResultRecord, RunDirectory
from selfsup.data import row_hashes
from selfsup.errors import ConfigError
from selfsup.evaluation.choose import choose_evaluators
from selfsup.evaluation.common_options import CommonOptions, Source, loaded
from selfsup.evaluation.evaluators.finetune import finetune_encoder, score
from selfsup.evaluation.evaluators.finetune_config import FinetuneConfig
from selfsup.evaluation.finetuned_model import FinetunedModel
from selfsup.evaluation.on_devices import call_on_devices, starts_processes, together
from selfsup.evaluation.record import record_of
from selfsup.evaluation.splits import load_splits
from selfsup.runtime.file_lock import lock_folder
from selfsup.runtime.precision import resolve_precision
from selfsup.runtime.progress import make_reporter
from selfsup.training.device.devices import process_ranks
from selfsup.validation import check_effect, validated

DEFAULT_EVALUATORS = ("knn", "linear")


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
    devices: int | None = None,
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
        devices: processes on this machine, one per GPU if there are GPUs; they divide the embedding, and the numbers are those
            of one. Evaluators that fine-tune (``finetune``, and ``few-labels`` with ``method=finetune``) share each batch, as
            :func:`finetune` does, and their numbers differ. None: processes that torchrun or srun started, else this one; all
            of them make this call together, not the first one alone.
        **common: ``label``, ``label_kind``, ``unlabelled``, ``columns``, ``table``, ``max_bad_rows``, ``checkpoint``, ``part``,
            ``progress``: see :class:`~selfsup.evaluation.CommonOptions`.

    Returns:
        One record per evaluator, in the order given.

    Raises:
        UnknownIdError: there is no such evaluator.
        ConfigError: an option is not allowed, or an evaluator is for another modality.
        DataError: the rows cannot be used, or are fewer than the processes that share them in fine-tuning.
        RunError: one of several processes did not make the call, or died.
    """
    evaluators = [evaluators] if isinstance(evaluators, str) else list(evaluators)
    chosen = choose_evaluators(evaluators, options or {})
    needs_label = any(spec.needs_labels for spec, _, _ in chosen)
    if (common.get("label_kind") or common.get("unlabelled")) and not needs_label and common.get("label") is None:
        raise ConfigError("--label-kind and --unlabelled have no effect: none of the evaluators needs labels. Leave them out.")
    results = _results_folder(encoder, out)
    if starts_processes(devices):
        given = {"test": test, "evaluators": evaluators, "options": options, "seed": seed, "precision": precision}
        call = f"{__name__}:evaluate_as_worker"
        found = call_on_devices(call, devices or 1, encoder, data, **given, out=results, **common)
        return [ResultRecord.model_validate(record) for record in found]
    encoder = loaded(encoder, common.pop("checkpoint", None))
    first = process_ranks()[0] == 0
    part = common.get("part")
    measured = encoder if part is None else encoder.part(part)
    for spec, _, _ in chosen:
        if spec.modality not in ("", measured.modality):
            whole = " Leave --part out, to measure all parts." if spec.modality == encoder.modality else ""
            raise ConfigError(
                f"The evaluator {spec.id!r} is for {spec.modality}, and this encoder is for {measured.modality}.{whole}"
            )
    records = []
    with make_reporter(common.pop("progress", False) and first) as reporter:
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
        with together(encoder.device):
            for done, (spec, config, evaluator) in enumerate(chosen, start=1):
                began = time.perf_counter()
                metrics = evaluator.evaluate(measured, splits.train, splits.test, seed=seed)
                record = record_of(measured, splits, spec.id, config, metrics, seed, time.perf_counter() - began)
                if results is not None and first:
                    record.write(results)
                records.append(record)
                reporter.advance(done)
    return records


def evaluate_as_worker(**options: Any) -> list[dict[str, Any]]:
    """The records of :func:`evaluate` as JSON values, for :func:`~selfsup.evaluation.on_devices.call_on_devices`."""
    return [record.model_dump(mode="json") for record in evaluate(**options)]


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
    devices: int | None = None,
    **common: Unpack[CommonOptions],
) -> Finetuned:
    """Train all weights of a copy of an encoder, and a linear head, on labelled rows.

    Several processes share each batch; the first one writes. Each takes ``batch_size // processes`` rows of a batch, and draws
    augmentation and dropout from a seed of its own, so that the model differs from that of one process.

    Args:
        encoder: an encoder, or what :func:`selfsup.load` takes; it stays unchanged.
        data: source of the labelled training rows.
        test: source of the test rows, as for :func:`evaluate`.
        fraction: share of the labels to use, equally many from each class (for numbers: from each tenth).
        options: of :class:`~selfsup.evaluation.FinetuneConfig`, for example ``{"epochs": 10}``.
        seed: of every random choice.
        out: folder for the fine-tuned encoder and its head; None: nothing is written.
        devices: processes on this machine, one per GPU if there are GPUs. None: processes that torchrun or srun started, else
            this one; all of them make this call together.
        **common: ``label``, ``label_kind``, ``unlabelled``, ``columns``, ``table``, ``max_bad_rows``, ``checkpoint``, ``part``,
            ``progress``: see :class:`~selfsup.evaluation.CommonOptions`.

    Raises:
        ConfigError: an option is not allowed, or ``fraction`` leaves a class without a row.
        DataError: the rows cannot be used, or are fewer than the processes.
        RunError: one of several processes did not make the call, or died.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    config = validated(FinetuneConfig, {**(options or {}), "fraction": fraction}, what="finetune")
    check_effect(config, options or {}, prefix="finetune.")
    results = _results_folder(encoder, None)
    if starts_processes(devices):
        given = {"test": test, "fraction": fraction, "options": options, "seed": seed}
        with tempfile.TemporaryDirectory(prefix="selfsup-finetuned-") as folder:
            call, model_folder = f"{__name__}:finetune_as_worker", out or Path(folder) / "model"
            found = call_on_devices(call, devices or 1, encoder, data, **given, out=model_folder, **common)
            return Finetuned(FinetunedModel.load(model_folder), ResultRecord.model_validate(found))
    encoder = loaded(encoder, common.pop("checkpoint", None))
    first = process_ranks()[0] == 0
    lock = lock_folder(out, "fine-tuning") if first and out is not None else nullcontext()
    with lock, make_reporter(common.pop("progress", False) and first) as reporter:
        splits = load_splits(encoder, data, test, needs_label=True, seed=seed, precision="32", reporter=reporter, **common)  # type: ignore[misc]  # as above
        encoder = encoder if splits.part is None else encoder.part(splits.part)
        began = time.perf_counter()
        with together(encoder.device):
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


def finetune_as_worker(**options: Any) -> dict[str, Any]:
    """The record of :func:`finetune` as JSON values, for :func:`~selfsup.evaluation.on_devices.call_on_devices`."""
    return finetune(**options).record.model_dump(mode="json")


def _results_folder(encoder: EncoderLike, out: str | Path | None) -> Path | None:
    """Where records go: ``out``, or the results folder of the encoder's run."""
    if out is not None:
        return Path(out)
    if isinstance(encoder, Encoder) or not isinstance(encoder, str | os.PathLike):
        return None
    folder = Path(encoder).expanduser()
    return RunDirectory.open(folder).results if RunDirectory.is_run(folder) else None
