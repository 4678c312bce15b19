"""Decide whether a run streams its rows, and open the stream."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import numpy as np

from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.data import BlockStore, Processor, Rows, Store, row_hashes
from selfsup.data.batches.agreement import Agreement
from selfsup.data.batches.decoding import start_ahead
from selfsup.data.batches.source import SeenRows, Share
from selfsup.data.batches.stream import StreamBatches, StreamOptions
from selfsup.data.sources.streams.load import look_at, open_stream
from selfsup.data.sources.streams.remote_files import RETRIES
from selfsup.data.sources.streams.row_stream import RowStream, rows_of
from selfsup.data.store.content_hash import held_out
from selfsup.errors import ConfigError, DataError
from selfsup.registry import registry
from selfsup.runtime.decoder_output import caught_noise
from selfsup.runtime.distributed import world_size
from selfsup.runtime.machine_load import cpu_count
from selfsup.runtime.progress import Reporter, show_findings
from selfsup.training.observe.online_probe import MONITORED_ROWS
from selfsup.training.run.config import RunConfig
from selfsup.training.run.initialization import Origin, origin_of
from selfsup.training.run.prepare_rows import Data, fitted_processor, prepare_data, process

_LONGEST_WAIT = timedelta(days=1)
"""How long processes wait while the first one lists files and counts rows."""
_MOST_WORKERS = 8
_ROWS_A_BLOCK = 8
"""Rows of the sample to read for each block whose embedding is checked."""
_GB = 1e9
_MOST_LEFT = 0.1
"""Share of the shards that may be left over when each process takes equally many."""


def is_streamed(config: RunConfig, source: Any = None) -> tuple[bool, str]:
    """Whether a run streams its rows, and a message if that was chosen automatically.

    Raises:
        ConfigError: the source can only be streamed, and ``--no-stream`` forbids it.
    """
    if config.stream:
        return True, ""
    found = look_at(config.data if source is None else source, sized=config.stream is None)
    if config.stream is not None:
        if found.remote:
            other = "Name their folder" if found.pattern else "Copy it to this machine"
            kind = ", as a pattern of files," if found.pattern else ""
            raise ConfigError(
                f"{config.data}{kind} can only be streamed, and --no-stream forbids it. {other}, or leave --no-stream out."
            )
        return False, ""
    limit = config.streaming.above_gb
    if found.remote:
        return True, f"{config.data} is streamed: its rows are decoded while training goes on."
    if found.size is not None and found.size > limit * _GB and not _needs_all_rows(config):
        return True, (
            f"{config.data} has {found.size / _GB:.1f} GB, more than {limit:g} GB (--set streaming.above_gb=), and is "
            "streamed: its rows are decoded while training goes on. --no-stream decodes all of them first."
        )
    return False, ""


def stream_data(config: RunConfig, reporter: Reporter, source: Any, origin: Origin) -> Data:
    """Open a stream and fit the processor on a sample of it.

    For arguments see :func:`~selfsup.training.run.prepare_rows.prepare_data`.

    Raises:
        ConfigError: the task or an option needs all rows at hand.
        DataError: the source has no usable rows.
    """
    spec = registry().get("task", config.task)
    _check_possible(config)
    if _workers(config):
        start_ahead()
    # The processes of a run form a group before: one of them lists the files for all.
    agreement = Agreement(world_size(), _LONGEST_WAIT)
    stream = open_stream(
        config.data if source is None else source,
        modality=registry().get("modality", spec.modality),
        sample_rows=config.streaming.sample_rows,
        columns=config.columns,
        table=config.table,
        options={**(origin.processor.source_options() if origin.processor is not None else {}), **config.processor_options},
        label=config.label,
        listed=agreement.from_first,
    )
    for text in filter(None, agreement.gathered(RETRIES.take())):
        reporter.message(f"Warning: while {stream.name} was opened, {text}")
    sample = stream.sample
    if config.holdout:
        sample = _without_held_out(sample, config.holdout)
        out = len(stream.sample) - len(sample)
        reporter.message(f"{out} of the {len(stream.sample)} rows of the sample are held out for testing, and so on.")
    known = agreement.from_first(partial(rows_of, stream, config.streaming.rows, config.holdout, ask=_counts_rows(config)))
    with caught_noise(reporter.message):
        processor = fitted_processor(config, sample, origin, reporter)
        findings = stream.sample.findings.joined(processor.findings())
        how_many = "an unknown number of rows" if known is None else f"{known} rows"
        findings.add("stream", f"{how_many} in {len(stream.shards)} shard(s), shuffled among {config.streaming.buffer}")
        findings.add("sample", f"the processor is fitted on {stream.described} (--set streaming.sample_rows=)")
        show_findings(reporter, f"Data: {sample.name} ({sample.split}), streamed", findings)
        most = min(MONITORED_ROWS * (_ROWS_A_BLOCK if processor.block_length else 1), len(sample))
        places = np.unique(np.linspace(0, len(sample) - 1, most).astype(np.int64))
        looked_at: Store = process(sample.select(places), processor, config, reporter)
    if processor.block_length:
        steps = looked_at.steps(next(iter(looked_at.fields)), np.arange(len(looked_at))).mean()
        known = None if known is None else round(known * float(steps) / processor.block_length)
        looked_at = BlockStore(looked_at.path, processor.block_length)
    options = StreamOptions(
        buffer=config.streaming.buffer,
        by_shards=(split := _split(config, stream)) == "shards",
        workers=_workers(config),
        max_bad_rows=config.max_bad_rows,
        holdout=config.holdout,
    )
    nothing = np.zeros(0, dtype=np.uint64)
    return Data(
        processor,
        partial(_batches, stream, processor, options, known, reporter),
        known,
        looked_at,
        processor.info(),
        stream.name,
        stream.fingerprint,
        None if config.holdout else 0,
        PretrainingRows.of(nothing, sample.columns, holdout=config.holdout, source=stream.fingerprint),
        findings,
        split,
        ragged=not processor.windowed(),
    )


def _without_held_out(sample: Rows, share: float) -> Rows:
    """The rows of a sample that are not held out.

    Raises:
        DataError: all rows are held out.
    """
    outside = held_out(row_hashes(sample), share)
    if outside.all():
        raise DataError(
            f"holdout={share:g} holds out all {len(sample)} rows of the sample of {sample.name}. Choose a smaller share, or "
            "take a larger sample (--set streaming.sample_rows=N)."
        )
    return sample.select(np.flatnonzero(~outside))


def _counts_rows(config: RunConfig) -> bool:
    """Whether the budget or the warm-up is given in epochs."""
    return config.optimization.steps is None or config.optimization.warmup_epochs is not None


def _batches(
    stream: RowStream, processor: Processor, options: StreamOptions, rows: int | None, reporter: Reporter, share: Share
) -> StreamBatches:
    return StreamBatches(stream, processor, share, options, rows=rows, warn=reporter.message)


def _needs_all_rows(config: RunConfig) -> str:
    """Why a run cannot stream its rows; empty if it can."""
    spec = registry().get("task", config.task)
    if spec.needs_labels:
        return f"{spec.id} needs the labels of all rows before it starts, and a stream does not have them."
    if config.rows:
        return f"rows={config.rows} draws from all rows, and a stream does not know them beforehand."
    return ""


def _check_possible(config: RunConfig) -> None:
    """Refuse options that need all rows before the first step."""
    if reason := _needs_all_rows(config):
        raise ConfigError(f"{reason} Leave out --stream (or give --no-stream), so that all rows are prepared first.")
    if config.unlabelled or config.label_kind:
        raise ConfigError("--unlabelled and --label-kind have no effect on a stream, which reads no labels: leave them out.")


def _split(config: RunConfig, stream: RowStream) -> Literal["rows", "shards"]:
    """How processes divide the rows.

    An epoch ends with the process that has the fewest rows, so ``count % processes`` of ``count`` shards of equal size are not
    read in it. Where these are more than a tenth, each process reads all shards.
    """
    if config.streaming.split != "auto":
        return config.streaming.split
    count, processes = len(stream.shards), config.devices * config.nodes
    even = count >= processes > 1 and count % processes <= _MOST_LEFT * count
    return "shards" if stream.remote and even else "rows"


def settled(config: RunConfig, data: Data) -> RunConfig:
    """A config with the ``streaming.split`` that the stream chose, so that a resumed run keeps it."""
    if data.split is None:
        return config
    return config.model_copy(update={"streaming": config.streaming.model_copy(update={"split": data.split})})


def _workers(config: RunConfig) -> int:
    if config.streaming.workers is not None:
        return config.streaming.workers
    return max(min(cpu_count() // config.devices - 1, _MOST_WORKERS), 1)


def learned_rows(before: PretrainingRows, seen: SeenRows) -> PretrainingRows:
    """Hashes of the rows that a stream gave; ``before`` says how they are hashed."""
    found = PretrainingRows.of(seen.hashes, before.roles, holdout=before.holdout, source=before.source)
    return replace(found, different=max(seen.different, len(found.hashes)))


def prepare(config: RunConfig, reporter: Reporter, source: Any = None, origin: Origin | None = None) -> Data:
    """The training rows of a run: a stream if ``config.stream`` is set, else all rows, processed now.

    For arguments and errors see :func:`~selfsup.training.run.prepare_rows.prepare_data`.
    """
    if config.stream:
        return stream_data(config, reporter, source, origin or origin_of(config))
    return prepare_data(config, reporter, source, origin)
