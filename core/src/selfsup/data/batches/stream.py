"""Batches of a stream: rows are read, shuffled in a buffer and decoded while the device is busy with the batch before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from selfsup.data.batches.agreement import Agreement
from selfsup.data.batches.blocks import BlockCutter
from selfsup.data.batches.decoding import DecodedRow, RowDecoder
from selfsup.data.batches.loader import joined
from selfsup.data.batches.row_tally import RowTally
from selfsup.data.batches.shard_counts import ShardCounts
from selfsup.data.batches.shuffle import ShuffledRows, Split
from selfsup.data.batches.source import BatchSource, SeenRows, Share
from selfsup.data.batches.windows import cut_windows
from selfsup.data.processor import Processor
from selfsup.data.samples import Sample, stack_samples
from selfsup.data.sources.streams.remote_files import RETRIES
from selfsup.data.sources.streams.row_stream import RowStream
from selfsup.errors import CheckpointError, DataError
from selfsup.runtime.threads import read_ahead
from selfsup.types import Batch

_Numbered = tuple[Sample, tuple[int, ...]]
"""A sample with numbers that only it has in an epoch."""
_LOOK_ROWS = 1024
"""Rows without a full batch after which the share of bad rows is checked."""


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is read."""

    buffer: int = 1000
    """Rows in memory that are shuffled among each other."""
    by_shards: bool = False
    """Whether each of several processes reads shards of its own (:class:`Split`)."""
    workers: int = 0
    """Processes that decode, for each process of the run; 0: it decodes itself."""
    max_bad_rows: float = 0.01
    """Share of the rows that may be bad."""
    holdout: float = 0.0
    """Share of the rows to hold out, by their content."""
    prefetch: int = 2
    """Batches that are read ahead."""


@dataclass
class _Step:
    """A batch, or the end of the epoch, with all rows up to it."""

    batch: Batch | None
    end: int
    """Place of the first row that is not used up by it."""
    skip: int = 0
    """Of blocks: steps of that row that are used."""
    rows: list[DecodedRow] = field(default_factory=list)
    """All rows since the last batch, without their samples."""


class StreamBatches(BatchSource):
    """Batches of a stream for one process.

    The rows of a batch depend on the seed, the epoch, the size of the buffer and the source, and not on how fast rows are read
    or how many processes decode them. The state is the epoch and a place in its order, so a resumed run gives the same rows as
    one that was never stopped.

    All processes end an epoch at the same batch: as soon as one has no full batch left. Where the processor joins rows into
    blocks (:attr:`Processor.block_length`), each process makes them of its own rows.

    Args:
        stream: the rows.
        processor: fitted.
        share: of this process.
        options: how to read.
        rows: samples of an epoch over all processes; None: unknown.
        warn: shows a line to the user; called on the first process.
    """

    def __init__(
        self,
        stream: RowStream,
        processor: Processor,
        share: Share,
        options: StreamOptions,
        *,
        rows: int | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        by_shards = options.by_shards and share.world_size > 1
        if by_shards and len(stream.shards) < share.world_size:
            raise DataError(
                f"{stream.name} has {len(stream.shards)} shard(s) for {share.world_size} processes, and each needs one of its "
                "own: let all read all of them (--set streaming.split=rows), or write more shards."
            )
        self._stream, self._processor, self._share, self._options = stream, processor, share, options
        self._split = Split(share.batch_size, share.rank, share.world_size, by_shards)
        self._decoder = RowDecoder(processor, options.workers, holdout=options.holdout)
        self._rows, self._warn = rows, warn
        self._counts = ShardCounts(share.rank, share.world_size)
        self._least: dict[int, int] = {}
        self._epoch = self._given = self._taken = self._skip = 0
        self._tally = RowTally(stream, options.max_bad_rows, share.world_size)
        self._processes = Agreement(share.world_size)

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches in an epoch, or None; bad rows make them fewer."""
        return None if self._rows is None else self._rows // (self._share.batch_size * self._share.world_size)

    @property
    def epoch(self) -> int:
        """Epoch of the last batch, counted from 0."""
        return self._given

    @property
    def failed_together(self) -> bool:
        """Whether all processes learned of the error that ended the batches."""
        return self._processes.failed

    def batches(self) -> Generator[Batch]:
        """The rest of the epoch."""
        begun = self._taken, self._skip
        with closing(read_ahead(self._steps(), self._options.prefetch)) as steps:
            while True:
                step, error = self._next(steps)
                if not self._processes.all_have(step.batch is not None, error):
                    break
                self._tally.add(step.rows)
                self._taken, self._skip, self._given = step.end, step.skip, self._epoch
                yield {key: value.to(self._share.device, non_blocking=True) for key, value in cast(Batch, step.batch).items()}
        if step.batch is None:
            self._tally.add(step.rows, given=False)
        if begun == (self._taken, self._skip) == (0, 0):
            raise DataError(self._too_few())
        self._end_epoch(step)

    def _next(self, steps: Iterator[_Step]) -> tuple[_Step, Exception | None]:
        """The next step, and the error that came instead."""
        try:
            step = next(steps)
            self._tally.check(step.rows, given=step.batch is not None)
        except Exception as error:
            return _Step(None, self._taken, self._skip), error
        return step, None

    def _end_epoch(self, rest: _Step) -> None:
        left, blocks = self._left(rest), self._processor.block_length
        retried = self._processes.gathered(RETRIES.take())
        if self._share.rank == 0:
            least = 1 if blocks else self._share.batch_size * self._share.world_size
            cause = "shards" if self._split.by_shards else "blocks" if blocks else "rows"
            for text in self._tally.report(self._epoch, left, least, cause, retried):
                self._warn(text)
            for text, count in self._decoder.remarks.items():
                self._warn(f"Warning: {count} of the rows of {self._stream.name} that were read: {text}.")
        self._decoder.remarks.clear()
        self._counts.exchange(self._processes)
        self._epoch, self._taken, self._skip = self._epoch + 1, 0, 0

    def _left(self, rest: _Step) -> list[int | None]:
        """Rows after the last batch, on each of several processes; none if no process could fill a batch of blocks."""
        if not self._processes.several:
            return []
        have_more = self._processes.gathered(rest.batch is not None)
        if self._processor.block_length and not any(have_more):
            return []
        total: int | None = None
        failed: Exception | None = None
        try:
            total = self._shuffled().total  # it may ask remote shards
        except Exception as error:
            failed = error
        self._processes.all_have(True, failed)
        unusable = sum(row.sample is None for row in rest.rows)
        totals = self._processes.gathered(total)
        if not self._split.by_shards:  # one has read all shards to their ends
            total = next((self._split.rows_of(count) for count in totals if count is not None), None)
        return self._processes.gathered(None if total is None else total - self._taken - unusable)

    def _too_few(self) -> str:
        bad = self._tally.described()
        several = f" on each of {self._share.world_size} processes" if self._share.world_size > 1 else ""
        return (
            f"An epoch of {self._stream.name} has no batch of batch_size={self._share.batch_size}{several}. Use a smaller "
            f"--batch-size, or give more rows.{f' {bad}' if bad else ''}"
        )

    def _shuffled(self) -> ShuffledRows:
        return ShuffledRows(
            self._stream,
            self._split,
            seed=self._share.seed,
            epoch=self._epoch,
            buffer=self._options.buffer,
            counts=self._counts,
            least=self._least,
            start=self._taken,
        )

    def _steps(self) -> Iterator[_Step]:
        """The rest of the epoch's batches, and its end; runs in a thread."""
        size, length = self._share.batch_size, self._processor.block_length
        blocks = BlockCutter(length, self._skip) if length else None
        good: list[_Numbered] = []
        rows: list[DecodedRow] = []
        self._tally.begin()
        with closing(self._decoder.decoded(self._shuffled())) as decoded:
            for row in decoded:
                rows.append(self._tally.note(row))
                if len(rows) % _LOOK_ROWS == 0:
                    self._tally.look_ahead(rows)
                for sample, skip in _samples_of(row, blocks):
                    good.append((sample, (*row.origin, skip) if blocks else row.origin))
                    if len(good) == size:
                        ends_within = bool(skip)
                        done, rows = (rows[:-1], rows[-1:]) if ends_within else (rows, [])
                        yield _Step(self._batch(good), row.place + (not ends_within), skip, done)
                        good = []
        yield _Step(None, self._taken, self._skip, rows)

    def _batch(self, samples: list[_Numbered]) -> Batch:
        draw, whole = (self._share.seed, self._epoch), self._share.whole
        draws = [(*draw, *numbers) for _, numbers in samples]
        shown = stack_samples(cut_windows([sample for sample, _ in samples], self._processor, draws, whole=whole))
        batch = joined(shown, self._processor, draw, *samples[0][1], whole=whole)
        if torch.device(self._share.device).type == "cuda":
            batch = {key: value.pin_memory() for key, value in batch.items()}
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch, the place in its order, and the counts up to it."""
        return {
            "epoch": self._epoch,
            "given": self._given,
            "taken": self._taken,
            "skip": self._skip,
            "batch_size": self._share.batch_size,
            "buffer": self._options.buffer,
            "by_shards": self._split.by_shards,
            "counts": self._counts.state_dict(),
            "least": dict(self._least),
            "tally": self._tally.state_dict(),
        }

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from there; on another number of processes only if all were at the same global batch."""
        share, rank = self._share, self._share.rank
        first = states[0]
        if first["buffer"] != self._options.buffer or first["by_shards"] != self._split.by_shards:
            kind = "shards" if first["by_shards"] else "rows"
            raise CheckpointError(
                f"the rows were shuffled among {first['buffer']}, and split by {kind}: go on with --set "
                f"streaming.buffer={first['buffer']} --set streaming.split={kind}, and on as many devices."
            )
        if len(states) == share.world_size:
            own = states[rank]
            taken, skip = own["taken"], own.get("skip", 0)
        else:
            places = {(state["epoch"], *divmod(state["taken"], state["batch_size"])) for state in states}
            if self._split.by_shards or self._processor.block_length or len(places) > 1 or any(rest for _, _, rest in places):
                raise CheckpointError(
                    f"the stream was read by {len(states)} process(es) that are at places of their own (shards of their own, "
                    f"blocks of tokens, bad or held-out rows), and {share.world_size} cannot go on from there without losing "
                    f"or repeating rows. Resume on {len(states)} device(s)."
                )
            own = first
            taken, skip = first["taken"] // first["batch_size"] * share.batch_size, 0
        self._epoch, self._given, self._taken, self._skip = own["epoch"], own["given"], taken, skip
        self._counts.load_state_dict(state["counts"] for state in states)
        self._least = {shard: count for shard, count in own["least"].items() if shard not in self._counts}
        self._tally.load_state_dict([states[rank]] if len(states) == share.world_size else list(states) if rank == 0 else [])

    def seen(self) -> SeenRows:
        """The rows that were given."""
        return RowTally.seen(self._processes.gathered(self._tally.state_dict()))


def _samples_of(row: DecodedRow, blocks: BlockCutter | None) -> Iterator[tuple[Sample, int]]:
    """The samples that a row completes, and how many of its steps are used where some are left: none, itself, or blocks."""
    if row.sample is not None:
        yield from ((row.sample, 0),) if blocks is None else ((block, blocks.begun) for block in blocks.add(row.sample))
