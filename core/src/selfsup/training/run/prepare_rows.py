"""Prepare the rows of a run: read them, fit the processor, and process them into a store."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from selfsup.artifacts.pretraining_rows import PretrainingRows
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
from selfsup.training.observe.online_probe import MAX_ROWS, OnlineProbe
from selfsup.training.run.config import RunConfig
from selfsup.training.run.initialization import Origin, adjusted_processor, origin_of
from selfsup.types import Info
from selfsup.validation import validated

_SMALL_BYTES = 1e9
_SHORT_SECONDS = 60.0
"""A store that is expected to be larger, or to take longer, is announced."""


@dataclass(frozen=True)
class Data:
    """The processed training rows of a run."""

    processor: Processor
    source: SourceMaker
    """Makes the batches of a process."""
    rows: int | None
    """Usable rows; None: unknown before all are read."""
    looked_at: Store
    """Rows whose embeddings are checked during the run."""
    info: Info
    """What backbone and task must know of the batches."""
    name: str
    fingerprint: str
    held_out: int | None
    """Rows that are left out for testing; None: unknown before a stream is read."""
    pretraining_rows: PretrainingRows
    """Hashes of the training rows."""
    findings: Findings
    """How the source was read and what the processor decided."""
    split: Literal["rows", "shards"] | None = None
    """How a stream is divided over several devices; None: no stream."""
    ragged: bool = False
    """Whether batches differ in length."""


def prepare_data(config: RunConfig, reporter: Reporter, source: Any = None, origin: Origin | None = None) -> Data:
    """Load the rows, remove their labels, fit the processor and process every row once.

    Args:
        config: of the run.
        reporter: shows the progress.
        source: rows to use instead of ``config.data``.
        origin: what the run starts from; its processor is used if it has one. None: found from the config.

    Raises:
        DataError: the source is missing, has unusable rows or columns or fewer than two rows, or ``holdout`` holds out all rows
            or none.
        ConfigError: the processor joins rows, and the task needs a label for each row.
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
        reporter.message(f"rows={config.rows} has no effect: there are {len(found)} rows, and all are used.")
    if 0 < config.rows < len(found):
        chosen = np.random.default_rng(config.seed).permutation(len(found))[: config.rows]
        found = found.select(np.sort(chosen))
    given = found.labels() if spec.needs_labels else None
    if given is not None and (given == given[:1]).all():
        raise DataError(f"All labels of {found.name} are equal, and {spec.id} needs at least two different ones.")
    rows = found.without_labels()
    with caught_noise(reporter.message):
        processor = fitted_processor(config, rows, origin, reporter)
        findings = found.findings.joined(processor.findings())
        if spec.needs_labels:
            findings.add("label", found.label_reader.describe())
        show_findings(reporter, f"Data: {rows.name} ({rows.split}), {len(rows)} rows", findings)
        store = process(rows, processor, config, reporter)
    hashes, of_parts = row_hashes(rows), _parts_of(rows, store)
    if len(store.kept) < len(rows):
        hashes = hashes[store.kept]
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
        ragged=shown_lengths(store, processor) is not None,
    )


def store_batches(store: Store, processor: Processor, labels: LabelArray | None, share: Share) -> StoreBatches:
    """The batches of a store for one process.

    Args:
        store: processed rows.
        processor: made them.
        labels: [len(store)] class ids, [len(store), K] of several classes, or [len(store)] standardised numbers; None: batches
            have no labels.
        share: of this process.
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
    """The processor that came with the initial weights, or a new one that is fitted on the rows."""
    if origin.processor is not None and origin.resumed and origin.processor.parts:
        return origin.processor  # the run's own
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
    """For rows with several parts: hashes of each part's rows, as rows of the part's own modality."""
    kept = rows if len(store.kept) == len(rows) else rows.select(store.kept)
    parts = [(part, kept.of_part(part)) for part in rows.parts if kept.has_part(part).any()]
    return {part: PretrainingRows.of(row_hashes(own), own.columns, source=own.fingerprint) for part, own in parts}


def process(rows: Rows, processor: Processor, config: RunConfig, reporter: Reporter) -> Store:
    """Process rows once, or load the store that has them already, and report rows that are left out."""
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
    """The online probe and its processed rows; None: the config names no validation rows.

    Raises:
        DataError: the source or its labels are missing, or all of its rows are held out for testing.
    """
    if config.val is None:
        return None
    modality = registry().get("modality", registry().get("task", config.task).modality)
    splits = available_splits(config.val, modality=modality)
    # Use the test split only if it is named: the probe chooses the best checkpoint, which is then tested on those rows.
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
        found, _ = hold_out(found, config.holdout)  # as above
    source["label_kind"] = found.label_reader.kind
    found = found.labelled(reporter.message, what="validation")
    if len(found) > MAX_ROWS:
        chosen = np.random.default_rng(config.seed).permutation(len(found))[:MAX_ROWS]
        found = found.select(np.sort(chosen))
    store = process(found.without_labels(), processor.unpacked(), config, reporter)
    return OnlineProbe(found.labels()[store.kept], config.seed, source), store
