"""Set up a run before its first step: rows, processor, store, task."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.backbones import Backbone, TokenBackbone
from selfsup.config import Config
from selfsup.data import (
    BlockStore,
    EpochSampler,
    Findings,
    Loader,
    Processor,
    Rows,
    Store,
    available_splits,
    hold_out,
    load_source,
    prepare,
    row_hashes,
)
from selfsup.data.batches.source import Share, SourceMaker, StoreBatches
from selfsup.data.batches.windows import shown_lengths
from selfsup.data.sources.columns.labels import LabelArray, standard_scale
from selfsup.data.store.store_size import Estimate, shown_size
from selfsup.errors import ConfigError, DataError
from selfsup.registry import registry
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.progress import Reporter, show_findings, tell_bad_rows, tell_remarks
from selfsup.tasks import ComparesEmbeddings, PretextTask
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.training.observe.online_probe import MAX_ROWS, OnlineProbe
from selfsup.training.run.config import OptimizationConfig, RunConfig
from selfsup.training.run.initialization import Origin, adjusted_processor, build_teacher, origin_of
from selfsup.types import Info
from selfsup.validation import validated

_SMALL_BYTES = 1e9
_SHORT_SECONDS = 60.0
"""From so much on it is said what a store will take."""


@dataclass(frozen=True)
class Data:
    """Processed training rows."""

    processor: Processor
    source: SourceMaker
    """Makes the batches of a process."""
    rows: int | None
    """Usable rows; None: it is not known before they are read."""
    looked_at: Store
    """Rows whose embeddings are looked at while the run goes on."""
    info: Info
    """What backbone and task are told of the batches."""
    name: str
    fingerprint: str
    held_out: int | None
    """Rows that were left out for testing; None: they are found while a stream is read."""
    pretraining_rows: PretrainingRows
    """Hashes of the rows that are trained on."""
    findings: Findings
    """How the source was read, and what the processor decided."""
    split: Literal["rows", "shards"] | None = None
    """Of a stream: which rows of it are whose on several devices."""


def prepare_data(config: RunConfig, reporter: Reporter, source: Any = None, origin: Origin | None = None) -> Data:
    """Find the rows, cut their labels off, fit the processor and process every row once.

    Args:
        config: of the run.
        reporter: shows how far the processing is.
        source: rows to take in place of ``config.data``.
        origin: what the run starts from; its processor is used where it has one. None: it is looked for.

    Raises:
        DataError: the source is missing, has unusable rows or columns, or fewer than two rows, or ``holdout`` leaves all rows
            on one side.
        ConfigError: the processor joins rows, and the task needs the label of each.
    """
    origin = origin or origin_of(config)
    spec = registry().get("task", config.task)
    modality = registry().get("modality", spec.modality)
    found = load_source(
        config.data if source is None else source,
        modality=modality,
        columns=config.columns,
        label=config.label,
        needs_label=spec.needs_labels,
        label_kind=config.label_kind if spec.needs_labels else None,
        unlabelled=config.unlabelled if spec.needs_labels else (),
        table=config.table,
        options={**(origin.processor.source_options() if origin.processor is not None else {}), **config.processor_options},
    )
    whole, held = found, 0
    if config.holdout:
        found, out = hold_out(found, config.holdout)
        held = len(out)
        reporter.message(f"{held} of the {len(whole)} rows of {found.name} are held out for testing.")
    if spec.needs_labels:
        found = found.labelled(reporter.message)
    if config.rows > len(found):
        reporter.message(f"rows={config.rows} has no effect: there are {len(found)} rows, and all are taken.")
    if 0 < config.rows < len(found):
        chosen = np.random.default_rng(config.seed).permutation(len(found))[: config.rows]
        found = found.select(np.sort(chosen))
    given = found.labels() if spec.needs_labels else None
    if given is not None and (given == given[:1]).all():
        raise DataError(f"All labels of {found.name} are alike, and {spec.id} needs at least two to tell apart.")
    rows = found.without_labels()
    with caught_noise(reporter.message):
        processor = fitted_processor(config, rows, origin, reporter)
        findings = found.findings.joined(processor.findings())
        if spec.needs_labels:
            findings.add("label", found.label_reader.describe())
        show_findings(reporter, f"Data: {rows.name} ({rows.split}), {len(rows)} rows", findings)
        store = process(rows, processor, config, reporter)
    hashes, of_parts = row_hashes(rows)[store.kept], _parts_of(rows, store)
    if processor.block_length:
        if spec.needs_labels:
            raise ConfigError(f"{spec.id} needs a label for each row, and the processor joins rows into blocks: turn that off.")
        store = BlockStore(store.path, processor.block_length)
    if len(store) < 2:
        raise DataError(f"{rows.name} has {len(store)} usable row, and pretraining needs at least two.")
    info, labels = processor.info(), None
    if given is not None:
        reader = found.label_reader
        info = {**info, "label_kind": reader.kind, "n_classes": len(reader.names)}
        labels = given[store.kept]
        if reader.kind == "number":
            mean, scale = standard_scale(labels)
            labels = (labels - mean) / scale
    learned = PretrainingRows.of(hashes, rows.columns, holdout=config.holdout, source=whole.fingerprint)
    learned = replace(learned, parts=of_parts)
    return Data(
        processor,
        partial(store_batches, store, processor, labels),
        len(store),
        store,
        info,
        rows.name,
        rows.fingerprint,
        held,
        learned,
        findings,
    )


def store_batches(store: Store, processor: Processor, labels: LabelArray | None, share: Share) -> StoreBatches:
    """The batches of a store for one process.

    Args:
        store: processed rows.
        processor: made them.
        labels: [len(store)] class ids, [len(store), K] of several classes, or [len(store)] standardised numbers; None: batches
            hold no label.
        share: of the process.
    """
    sampler = EpochSampler(
        len(store),
        share.batch_size,
        seed=share.seed,
        rank=share.rank,
        world_size=share.world_size,
        lengths=shown_lengths(store, processor),
    )
    loader = Loader(store, processor, sampler, share.device, labels=labels, window_seed=share.seed, whole=share.whole)
    return StoreBatches(loader)


def fitted_processor(config: RunConfig, rows: Rows, origin: Origin, reporter: Reporter) -> Processor:
    """The processor that came with the first weights, or one that is fitted on the rows."""
    if origin.processor is not None and origin.resumed and origin.processor.parts:
        return origin.processor  # it is the run's own
    if origin.processor is not None:
        processor = adjusted_processor(origin.processor, config.processor_options, origin.processor_of)
        if note := processor.check_rows(list(rows.columns), origin.processor_of):
            reporter.message(note)
        return processor
    kind = registry().processor_class(registry().get("task", config.task).modality)
    fresh = kind(validated(kind.Config, config.processor_options, what="the processor's options"))
    for name, weights in origin.parts.items():
        if weights.processor is not None:
            wanted = config.processor_options[kind.part_options].get(name, {})
            fresh.take(name, adjusted_processor(weights.processor.unpacked(), wanted, weights.source))
            reporter.message(f"The processor of {weights.source} is used for {name}.")
    return fresh.fit(rows)


def _parts_of(rows: Rows, store: Store) -> dict[str, PretrainingRows]:
    """Of rows that join parts: the rows of each part that were learned from, as rows of its own modality are known."""
    kept = rows if len(store.kept) == len(rows) else rows.select(store.kept)
    parts = [(part, kept.of_part(part)) for part in rows.parts if kept.has_part(part).any()]
    return {part: PretrainingRows.of(row_hashes(own), own.columns, source=own.fingerprint) for part, own in parts}


def process(rows: Rows, processor: Processor, config: RunConfig, reporter: Reporter) -> Store:
    """Process rows once, or find what was processed before, and say which rows were left out."""
    started = False

    def show(done: int, total: int) -> None:
        nonlocal started
        if not started:
            reporter.start("decoding", total, unit="rows")
            started = True
        reporter.advance(done)

    def tell(estimate: Estimate) -> None:
        if estimate.raw_bytes:
            reporter.message(
                f"The processed rows of {rows.name} are compressed without loss, to about {shown_size(estimate.nbytes)}: raw "
                f"they take {shown_size(estimate.raw_bytes)}, and {estimate.limit}."
            )
        elif estimate.nbytes >= _SMALL_BYTES or estimate.seconds >= _SHORT_SECONDS:
            reporter.message(
                f"The processed rows of {rows.name} will take about {shown_size(estimate.nbytes)} on disk, and "
                f"{math.ceil(estimate.seconds / 60)} minutes. --stream decodes rows while training goes on."
            )

    with caught_noise(reporter.message):
        store = prepare(
            rows,
            processor,
            max_bad_rows=config.max_bad_rows,
            workers=config.workers or None,
            progress=show,
            most_bytes=None if config.max_store_gb is None else int(config.max_store_gb * 1e9),
            estimated=tell,
        )
    tell_bad_rows(reporter, store.bad_rows, f"{len(rows)} rows of {rows.name}")
    tell_remarks(reporter, store.remarks, f"{len(rows)} rows of {rows.name}")
    return store


def prepare_probe(config: RunConfig, processor: Processor, reporter: Reporter) -> tuple[OnlineProbe, Store] | None:
    """The online probe and its processed rows; None where the config names no validation rows.

    Raises:
        DataError: the source is missing, or its labels are; or all of its rows are held out for testing.
    """
    if config.val is None:
        return None
    modality = registry().get("modality", registry().get("task", config.task).modality)
    splits = available_splits(config.val, modality=modality)
    # Not the test split unless it is named: the probe chooses the best checkpoint, which is then tested on those rows.
    split = next((name for name in ("validation", "train") if name in splits), splits[0])
    found = load_source(
        config.val,
        modality=modality,
        split=split,
        columns=config.columns,
        label=config.label,
        needs_label=True,
        label_kind=config.label_kind,
        unlabelled=config.unlabelled,
        table=config.table.where_of_use(),
        options=processor.source_options(),
    )
    source = {"name": found.name, "split": found.split, "fingerprint": found.fingerprint}
    if config.holdout:
        found, _ = hold_out(found, config.holdout)  # for the same reason
    source["label_kind"] = found.label_reader.kind
    found = found.labelled(reporter.message, what="validation")
    if len(found) > MAX_ROWS:
        chosen = np.random.default_rng(config.seed).permutation(len(found))[:MAX_ROWS]
        found = found.select(np.sort(chosen))
    store = process(found.without_labels(), processor.unpacked(), config, reporter)
    return OnlineProbe(found.labels()[store.kept], config.seed, source), store


def check_batch(config: OptimizationConfig, n: int | None, processes: int) -> int:
    """Samples of one device's share of a batch.

    Args:
        config: has the batch size.
        n: number of training rows; None: it is not known.
        processes: number of devices.

    Raises:
        ConfigError: the batch is larger than the data, or cannot be divided evenly.
    """
    size, chunks = config.batch_size, processes * config.accumulate
    if n is not None and size > n:
        raise ConfigError(
            f"batch_size={size} is larger than the data, which has {n} usable rows. Use --batch-size {n} or less, or give more "
            "data."
        )
    if size % chunks or size // chunks < 2:
        raise ConfigError(
            f"batch_size={size} cannot be divided over {processes} device(s) with accumulate={config.accumulate}: it must be a "
            f"multiple of {chunks}, with at least 2 samples a chunk. Use --batch-size {max(size // chunks, 2) * chunks}."
        )
    return size // processes


def accumulation_warning(task: PretextTask, config: RunConfig, share: int) -> str:
    """What to say where a batch is cut into chunks and what is learned is not that of the whole batch; empty elsewhere.

    Args:
        task: says whether it compares samples, and has norms or not.
        config: has the number of chunks.
        share: samples of one device's share of a batch.
    """
    chunks = config.optimization.accumulate
    if chunks == 1:
        return ""
    if task.couples_samples and not isinstance(task, ComparesEmbeddings):
        return (
            f"Warning: accumulate={chunks} changes what {config.task} learns: its loss depends on the other samples of the "
            f"batch, and each chunk of {share // chunks} samples sees its own alone, for it cannot be embedded first and "
            "compared then. Use accumulate=1 with as large a batch as fits, or more devices, which see each other's samples."
        )
    if any(isinstance(part, _BatchNorm) and part.training for part in task.modules()):
        return (
            f"accumulate={chunks}: batch norm takes its statistics over each chunk of {share // chunks} samples; all else is "
            "as with the whole batch."
        )
    return ""


def build_task(
    config: RunConfig, info: Info, origin: Origin | None = None, *, taught: bool = True
) -> tuple[PretextTask, Config]:
    """The pretext task with fresh weights drawn with the run's seed, and the backbone's options in full.

    Args:
        config: resolved in full.
        info: of the processor.
        origin: what its backbone starts from; None: from the weights that were drawn, or those that its options name.
        taught: whether its teacher is read, where it has one; without it the task can be looked at, but not be trained.

    Raises:
        ConfigError: the backbone has no tokens where the task needs them, or the teacher is none.
    """
    torch.manual_seed(config.seed)
    spec = registry().get("task", config.task)
    recipe = registry().task_recipe(spec)
    backbone, options = registry().build_backbone(config.backbone, config.backbone_options, info)
    if spec.needs_tokens and not isinstance(backbone, TokenBackbone):
        raise ConfigError(f"the task {spec.id!r} hides tokens of its input, and the backbone {config.backbone!r} has none.")
    if origin is not None:
        origin.start(backbone, info)  # before any moving average is made of it
    task = recipe.build(validated(recipe.config, config.task_options, what="the task's options"), backbone, info)
    if taught and (teacher := build_teacher(config, info)) is not None:
        assert isinstance(task, JointEmbedding), f"{spec.id} names a teacher, and learns from none"
        task.learn_from(teacher)
    return task, options


def full_backbone_options(config: RunConfig, backbone: Backbone) -> dict[str, Any]:
    """The options of a run's backbone as its encoder keeps them, JSON values (:meth:`Backbone.full_options`)."""
    recipe = registry().backbone_recipe(config.backbone)
    given = validated(recipe.config, config.backbone_options, what="the backbone's options")
    return backbone.full_options(given).model_dump(mode="json")


def pretrained_note(config: RunConfig, backbone: Backbone) -> str:
    """What to say of the input that first weights were trained with; empty where the weights are fresh.

    Args:
        config: resolved in full.
        backbone: built from it.
    """
    recipe = registry().backbone_recipe(config.backbone)
    if recipe.preprocessing is None:
        return ""
    own = recipe.preprocessing(validated(recipe.config, config.backbone_options, what="the backbone's options"))
    if not own:
        return ""
    have = config.processor_options
    taken = [f"processor.{key}={value}" for key, value in own.items() if have.get(key) == value]
    others = [f"processor.{key}={have.get(key)} (theirs: {value})" for key, value in own.items() if have.get(key) != value]
    said = [*taken, *([text] if (text := backbone.describe_input()) else [])]
    parts = [f"With the pretrained weights come {', '.join(said)}."] if said else []
    if others:
        parts.append(f"The weights were trained with other settings than these: {', '.join(others)}.")
    return " ".join(parts)


def compile_backbones(task: nn.Module, backend: str) -> None:
    """Compile the forward passes of every backbone in a task (the trained one and its moving averages) in place.

    A token backbone is used through ``tokenize`` and ``encode``, so these are compiled. The weights keep their names.

    Raises:
        ConfigError: torch has no such backend.
    """
    known = torch._dynamo.list_backends(exclude_tags=())
    if backend not in known:
        raise ConfigError(f"compile={backend!r} is no backend of torch.compile; it is one of off, {', '.join(known)}.")
    for part in task.modules():
        if isinstance(part, Backbone):
            part.compile(backend=backend)
        if isinstance(part, TokenBackbone):
            wrap: Callable[..., Any] = torch.compile(backend=backend)
            for name in ("tokenize", "encode"):
                setattr(part, name, wrap(getattr(part, name)))


def identity(config: RunConfig, fingerprint: str, processes: int) -> dict[str, Any]:
    """What a checkpoint must agree on to be of this run."""
    decides = config.model_dump(
        mode="json",
        include={
            "seed",
            "backbone",
            "optimization",
            "processor_options",
            "backbone_options",
            "task_options",
            "precision",
            "rows",
        },
    )
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return {"task": config.task, "data": fingerprint, "devices": processes, "config": digest}
