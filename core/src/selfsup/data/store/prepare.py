"""Process every row once into a store that later runs reuse."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.bad_rows import encode_arrow, encode_list
from selfsup.data.processor import Processor
from selfsup.data.rows import Rows
from selfsup.data.samples import EncodedTable, Sample
from selfsup.data.store.checksums import DamagedStoreError
from selfsup.data.store.content_hash import HashArray, hashes_of, remember_hashes
from selfsup.data.store.format import HEADER, RAW_VERSION, Store
from selfsup.data.store.store_size import Estimate, SizeWatch, StoreTooLargeError
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import BadRowError, DataError, TooManyBadRowsError
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.decoder_output import bound_log, decoding
from selfsup.runtime.file_lock import waiting_lock
from selfsup.runtime.files import scratch_folder, storage_error, storage_errors, sync_directory
from selfsup.runtime.machine_load import cpu_count
from selfsup.runtime.shared_lock import try_lock
from selfsup.runtime.temporary_files import temporary_folder
from selfsup.runtime.threads import in_order
from selfsup.types import Row

_TASK_ROWS = 32
_MOST_WORKERS = 8
"""With more, reading the rows is what takes time."""
_HINT = "Samples are kept below the folder that SELFSUP_CACHE names."


def prepare(
    rows: Rows,
    processor: Processor,
    *,
    max_bad_rows: float = 0.01,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    most_bytes: int | None = None,
    estimated: Callable[[Estimate], object] | None = None,
) -> Store:
    """Process all rows with a fitted processor, or open what was processed before.

    The store is found by the content of the rows and the state of the processor. It appears in the cache as a whole or not at
    all, whenever this is interrupted; a second process that wants the same waits for the first. Samples that would not fit are
    compressed without loss, and read as the same values.

    Args:
        rows: the rows; their labels are not looked at.
        processor: fitted.
        max_bad_rows: part of the rows, 0 to 1, that may be bad; they are left out.
        cache_dir: where stores are kept; None: ``stores`` below :func:`~selfsup.data.cache_root`.
        workers: threads that process; None: one a CPU core of this process, 8 at most.
        progress: called with the number of rows done and of all rows.
        most_bytes: that the samples may take on disk; None: what is free there.
        estimated: called once with what the first rows let expect, before the others are processed.

    Raises:
        TooManyBadRowsError: more rows were bad than allowed, or all; the message names the first ones.
        StorageError: the disk is full or cannot be written, or all samples, compressed, will take more than is allowed or free.
        DataError: there are no rows, or the processor's samples do not fit together.
    """
    check_share(max_bad_rows)
    if len(rows) == 0:
        raise DataError(f"{rows.name} has no row to process.")
    folder = Path(cache_dir) if cache_dir is not None else cache_root() / "stores"
    processor_hash = processor_digest(processor)
    key = hashlib.sha256(
        json.dumps([RAW_VERSION, rows.fingerprint, processor_hash, _code_digest(processor)]).encode()
    ).hexdigest()[:40]
    final = folder / key
    with storage_errors(folder, hint=_HINT):
        folder.mkdir(parents=True, exist_ok=True)
    if (store := _reuse(final, rows, max_bad_rows)) is not None:
        return store
    with waiting_lock(folder / f"{key}.lock"), contextlib.ExitStack() as stack:
        if (store := _reuse(final, rows, max_bad_rows, alone=True)) is not None:  # made while this one waited
            return store
        with storage_errors(folder, hint=_HINT):
            temporary = stack.enter_context(temporary_folder(final))
        threads = workers or min(cpu_count(), _MOST_WORKERS)
        write = partial(_process, rows, processor, temporary, max_bad_rows, threads, progress, processor_hash)
        try:
            hashes = write(SizeWatch(rows, folder, most_bytes, estimated))
        except StoreTooLargeError as error:
            for file in temporary.iterdir():
                file.unlink()
            hashes = write(SizeWatch(rows, folder, most_bytes, estimated, error))
        if cache_dir is None:
            remember_hashes(rows, hashes)
        _publish(temporary, final)
        return Store(final)


def processor_digest(processor: Processor) -> str:
    """Hash of what a processor saves: the same for the same config and fitted state."""
    digest = hashlib.sha256(processor.modality.encode())
    with scratch_folder() as directory:
        processor.save(directory)
        for file in sorted(path for path in directory.rglob("*") if path.is_file()):
            digest.update(f"\0{file.relative_to(directory).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _code_digest(processor: Processor) -> str:
    """Hash of the sources of the processor's package: samples that other code made are not reused."""
    digest = hashlib.sha256()
    for kind in map(type, (processor, *processor.parts.values())):
        digest.update(f"{kind.__module__}\0{kind.__qualname__}".encode())
        for file in _sources(kind.__module__):
            digest.update(b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _sources(module: str) -> list[Path]:
    """All Python files of the package that a module is in, in a fixed order; of a module in no package its own file.

    A processor calls on its neighbours (decoding, tokenization, columns), so its own file says too little.
    """
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        file = getattr(sys.modules.get(".".join(parts[:count])), "__file__", None)
        if file is None:  # a namespace, or what was typed into a console
            continue
        path = Path(file)
        return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path] * path.is_file()
    return []


def _process(
    rows: Rows,
    processor: Processor,
    directory: Path,
    max_bad_rows: float,
    workers: int,
    progress: Callable[[int, int], object] | None,
    processor_hash: str,
    watch: SizeWatch,
) -> HashArray:
    """Write the samples; gives the hash of each row."""
    writer = StoreWriter(directory, compressed=watch.refused is not None)
    hashes = np.zeros(len(rows), dtype=np.uint64)
    bad: list[tuple[int, str]] = []
    done = 0
    processor.take_remarks()  # of other rows
    try:
        with contextlib.closing(_encoded(rows, processor, workers)) as results:
            for start, samples, some in results:
                count = len(some)
                hashes[start : start + count] = some
                with storage_errors(directory.parent, hint=_HINT):
                    bad += _write(writer, samples, start, count)
                check_bad_rows(bad, rows, max_bad_rows)
                done += count
                watch.look(done, writer.nbytes)
                bound_log()
                if progress is not None:
                    progress(done, len(rows))
        named = [(index, f"{rows.describe(index)}: {reason}") for index, reason in bad]
        if not len(writer):
            raise no_good_row(rows, named)
        with storage_errors(directory.parent, hint=_HINT):
            writer.finish(
                source_rows=len(rows),
                bad_rows=named,
                fingerprint=rows.fingerprint,
                processor=processor_hash,
                source=f"{rows.name} ({rows.split})" if rows.split else rows.name,
                remarks=processor.take_remarks(),
            )
    finally:
        writer.close()
    return hashes


_Results = list[Sample | BadRowError] | EncodedTable


def _write(writer: StoreWriter, samples: _Results, start: int, count: int) -> list[tuple[int, str]]:
    """Append the good samples; index and reason of the bad ones."""
    if isinstance(samples, EncodedTable):
        good = np.delete(np.arange(count), sorted(samples.bad))
        part = samples.samples if len(good) == count else {key: values[good] for key, values in samples.samples.items()}
        writer.add_many(start + good, part)
        return [(start + place, reason) for place, reason in sorted(samples.bad.items())]
    bad = []
    for index, sample in enumerate(samples, start):
        if isinstance(sample, BadRowError):
            bad.append((index, str(sample)))
        else:
            writer.add(index, sample)
    return bad


def _encoded(rows: Rows, processor: Processor, workers: int) -> Generator[tuple[int, _Results, HashArray]]:
    """Processed rows in order, as (index of the first, what they became, their hashes)."""
    parts: Iterator[tuple[int, Any]] = rows.tables() if processor.columnar else _parts(rows)

    def work(part: tuple[int, Any]) -> tuple[int, _Results, HashArray]:
        start, some = part
        hashes = hashes_of(some)  # first: a processor may change what it is given
        with decoding():
            return start, _encode(processor, some, start), hashes

    return in_order(work, parts, workers)


def _parts(rows: Rows) -> Iterator[tuple[int, list[Row]]]:
    for start, chunk in rows.chunks():
        for offset in range(0, len(chunk), _TASK_ROWS):
            yield start + offset, chunk[offset : offset + _TASK_ROWS]


def _encode(processor: Processor, rows: Any, start: int) -> _Results:
    """Process a list of rows, or a table of them."""
    try:
        if processor.columnar:
            return encode_arrow(processor, rows)
        samples = encode_list(processor, rows)
    except Exception as error:
        error.add_note(f"while processing rows {start} to {start + len(rows) - 1}")
        raise
    if len(samples) != len(rows):
        raise DataError(f"{type(processor).__name__}.encode_rows gave {len(samples)} results for {len(rows)} rows.")
    return samples


def check_share(max_bad_rows: float) -> None:
    """Make sure that ``max_bad_rows`` is a part of the rows.

    Raises:
        DataError: it is not between 0 and 1.
    """
    if not 0 <= max_bad_rows <= 1:
        raise DataError(f"max_bad_rows={max_bad_rows} is not a part of the rows; it lies between 0 and 1.")


def no_good_row(rows: Rows, bad: list[tuple[int, str]]) -> TooManyBadRowsError:
    """The error where all rows are bad; ``bad`` has index and reason of each."""
    return TooManyBadRowsError(f"None of the {len(rows)} rows of {rows.name} could be processed. {_list_bad(bad)}")


def check_bad_rows(bad: list[tuple[int, str]], rows: Rows, max_bad_rows: float, *, named: bool = False) -> None:
    """Make sure that no more rows are bad than may be.

    Args:
        bad: index and reason of each.
        rows: all rows.
        max_bad_rows: part of the rows, 0 to 1.
        named: the reasons name the rows already.

    Raises:
        TooManyBadRowsError: more are.
    """
    if len(bad) <= max_bad_rows * len(rows):
        return
    first = bad[:5] if named else [(index, f"{rows.describe(index)}: {reason}") for index, reason in bad[:5]]
    allowed = math.floor(max_bad_rows * len(rows))
    raise TooManyBadRowsError(
        f"At least {len(bad)} of {len(rows)} rows of {rows.name} cannot be processed; at most {allowed} may be bad "
        f"(max_bad_rows={max_bad_rows:g}). {_list_bad(first)} Repair or remove them, or allow more with --max-bad-rows."
    )


def _list_bad(named: list[tuple[int, str]]) -> str:
    return "The first: " + "; ".join(text.rstrip(".") for _, text in named[:5]) + "."


def _reuse(final: Path, rows: Rows, max_bad_rows: float, *, alone: bool = False) -> Store | None:
    """The finished store, or None. A damaged one is removed by the process that is ``alone``: it holds the store's lock.

    Raises:
        DamagedStoreError: the store is damaged, and a process still reads it.
        StorageError: it cannot be read now.
    """
    if not final.exists():
        return None
    try:
        store = Store(final)
    except DamagedStoreError as error:
        if alone:
            with try_lock(final / HEADER) as free:
                if not free:
                    raise DamagedStoreError(f"{error} A process still reads it: wait until it ends.") from error
                shutil.rmtree(final, ignore_errors=True)
        return None
    check_bad_rows(store.bad_rows, rows, max_bad_rows, named=True)
    with contextlib.suppress(OSError):  # it may be another user's
        os.utime(final / HEADER)
    return store


def _publish(temporary: Path, final: Path) -> None:
    """Give the finished folder its name; if another process was faster, its store is as good."""
    try:
        temporary.rename(final)
    except OSError as error:
        if not final.exists():
            raise storage_error(final, error, hint=_HINT) from error
    sync_directory(final.parent)
