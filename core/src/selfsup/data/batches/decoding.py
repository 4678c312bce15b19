"""Decode the rows of a stream into samples, in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from selfsup.data.bad_rows import encode_list
from selfsup.data.batches.shuffle import Origin, StreamedRow
from selfsup.data.processor import Processor
from selfsup.data.samples import Sample
from selfsup.data.store.content_hash import HashArray, hashes_of, held_out
from selfsup.errors import BadRowError, RunError
from selfsup.runtime.decoder_output import decoding
from selfsup.runtime.process_server import fork_server
from selfsup.types import Row

_CHUNK_ROWS, _TABLE_ROWS = 32, 512
"""Rows that a process decodes at a time: one by one, or column by column."""
_AHEAD = 2
"""Chunks that are read ahead for each process."""
_DIED = "DataLoader worker (pid"
"""How torch's message begins when a process died; that of an error within one begins with ``Caught``."""
_TO_ALL = {getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)}
"""Signals that reach all processes of a job when it has to end (Slurm, systemd, ``timeout``, a terminal that is closed)."""


if any("multiprocessing.forkserver" in text for text in sys.orig_argv):
    # This is the clean process, which blocks signals (_shielded). Other processes that start from it must not.
    os.register_at_fork(after_in_child=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _TO_ALL))


@dataclass(frozen=True)
class DecodedRow:
    """The result of decoding one row."""

    place: int
    """In the order of this process."""
    origin: Origin
    hash: np.uint64
    sample: Sample | None
    """None if the row is bad or held out."""
    reason: str = ""
    """Why it is bad; empty if it is not."""


class _Decoder(Dataset[Any]):
    """Decodes chunks of rows; the index that the loader sends to a process is the chunk itself."""

    def __init__(self, processor: Processor, holdout: float) -> None:
        self.processor, self.holdout = processor, holdout

    def __getitem__(self, rows: Sequence[Row]) -> tuple[HashArray, list[Any], dict[str, int]]:
        hashes = hashes_of(rows)  # first: a processor may change what it is given
        wanted = ~held_out(hashes, self.holdout) if self.holdout else np.ones(len(rows), dtype=bool)
        results: list[Any] = [None] * len(rows)
        kept = np.flatnonzero(wanted).tolist()
        with decoding():
            encoded = encode_list(self.processor, [rows[place] for place in kept]) if kept else []
        for place, item in zip(kept, encoded, strict=True):
            results[place] = str(item) if isinstance(item, BadRowError) else item
        return hashes, results, self.processor.take_remarks()


class RowDecoder:
    """Decodes rows in their order, in ``workers`` processes, or in this one if that is 0.

    The results, and so every batch, do not depend on the number of processes. torch's loader runs them and sends each a chunk
    of rows in the place of an index. This process reads and shuffles the rows, so shards are not split among processes, and
    one archive keeps all of them busy.

    Args:
        processor: fitted.
        workers: processes.
        holdout: share of the rows to hold out, by their content.
    """

    def __init__(self, processor: Processor, workers: int, *, holdout: float = 0.0) -> None:
        self._chunks = _Chunks(_TABLE_ROWS if processor.columnar else _CHUNK_ROWS)
        self.remarks: dict[str, int] = {}
        options: dict[str, Any] = {}
        if workers:
            options = {
                "multiprocessing_context": _context(),
                "prefetch_factor": _AHEAD,
                "persistent_workers": True,
                "worker_init_fn": partial(_start_worker, dict(os.environ)),
            }
        self._loader: DataLoader[Any] = DataLoader(
            _Decoder(processor, holdout),
            batch_size=None,
            sampler=self._chunks,
            num_workers=workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else it draws from the run's
            **options,
        )
        self._own_main = type(processor).__module__ == "__main__"

    def decoded(self, rows: Iterable[StreamedRow]) -> Generator[DecodedRow]:
        """The result of each row, in their order.

        Raises:
            RunError: a process died.
        """
        chunks = self._chunks.of(rows)
        try:
            with _without_main(self._own_main), _shielded() if self._loader.num_workers else nullcontext():
                results = iter(self._loader)
            for hashes, items, remarks in results:
                for text, count in remarks.items():
                    self.remarks[text] = self.remarks.get(text, 0) + count
                for row, value, item in zip(chunks.pop(), hashes, items, strict=True):
                    bad = isinstance(item, str)
                    yield DecodedRow(row.place, row.origin, value, None if bad else item, item if bad else "")
        except RuntimeError as error:
            if not str(error).startswith(_DIED):
                raise
            raise RunError(
                f"a process that decodes rows died: {error}. It may have run out of memory: use fewer of them "
                "(--set streaming.workers=N)."
            ) from error


class _Chunks:
    """Gives the loader its chunks, and remembers which rows have been sent."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: Iterator[StreamedRow] = iter(())
        self._pending: list[list[StreamedRow]] = []

    def of(self, rows: Iterable[StreamedRow]) -> _Chunks:
        """Start again with these rows."""
        self._rows, self._pending = iter(rows), []
        return self

    def __iter__(self) -> Iterator[list[Row]]:
        chunk: list[StreamedRow] = []
        for row in self._rows:
            chunk.append(row)
            if len(chunk) == self._size:
                yield self._sent(chunk)
                chunk = []
        if chunk:
            yield self._sent(chunk)

    def _sent(self, chunk: list[StreamedRow]) -> list[Row]:
        rows = [row.row for row in chunk]
        self._pending.append([row._replace(row={}) for row in chunk])  # keep the place, drop the content
        return rows

    def pop(self) -> list[StreamedRow]:
        """The rows of the oldest chunk."""
        return self._pending.pop(0)


def _context() -> Any:
    return fork_server(["selfsup.data.batches.decoding"])


def start_ahead() -> None:
    """Start the clean process that decoding processes come from, which takes seconds to import torch, while others work."""
    _context()
    with _shielded():
        forkserver.ensure_running()


@contextmanager
def _without_main(needed: bool) -> Iterator[None]:
    """Start processes that do not run the caller's script again, unless they need a class from it."""
    main = sys.modules["__main__"]
    if not needed:
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _shielded() -> Iterator[None]:
    """Start processes that signals to the whole job do not end: the run needs them until it has saved a checkpoint.

    The clean process that they start from inherits the signal mask of this thread; they block signals themselves.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_ALL)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _TO_ALL)  # ensure_running unblocks some of them
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(environment: dict[str, str], _: int) -> None:
    """Ignore signals that reach all processes: the run answers them. End when the run says so, or is gone."""
    os.environ.clear()  # it is that of the clean process at its start
    os.environ.update(environment)
    for number in {signal.SIGINT, *_TO_ALL} - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if (run := multiprocessing.parent_process()) is None:
        return
    threads = [threading.Thread(target=_end_with, args=(run.sentinel,), daemon=True)]
    if hasattr(signal, "sigwaitinfo"):  # without it the sender of a signal is unknown
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threads.append(threading.Thread(target=_end_when_told, args=(run.pid,), daemon=True))
    for thread in threads:
        thread.start()


def _end_when_told(run: int) -> None:
    """End on SIGTERM of the run itself."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
        pass
    os._exit(0)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _as_it_is(value: Any) -> Any:
    return value
