"""Table files (csv, json, parquet, arrow, text) as data sets."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.cache import cache_root
from selfsup.data.parquet import read_parquet
from selfsup.errors import SourceError
from selfsup.files import storage_error, storage_errors

TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".arrow", ".txt")
_PLAIN = (".csv", ".tsv", ".json", ".jsonl", ".txt")
_BLOCK = 1 << 20
_BLOCK_ROWS = 65_536
_HINT = "Tables are converted below the folder that SELFSUP_CACHE names."


def hash_files(files: Sequence[Path]) -> str:
    """SHA-256 over the bytes of the files, in the order given; where they lie does not count."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                digest.update(f"{file.suffix}:{file.stat().st_size};".encode())
                while block := stream.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise SourceError(f"Cannot read {file}: {error.strerror or error}.") from error
    return digest.hexdigest()


def read_tables(files: Sequence[Path]) -> tuple[Any, str]:
    """The rows of table files of one kind as a ``datasets.Dataset``, and the hash of their content.

    They are converted to an Arrow file in the cache, once for each content, and read from there.

    Raises:
        SourceError: a file cannot be read or is not what its suffix says, the files are of several kinds, or hold no row.
        StorageError: the cache cannot be written.
    """
    import datasets

    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        raise SourceError(f"{files[0].parent} holds tables of several kinds ({', '.join(kinds)}). Name the file that is meant.")
    fingerprint = hash_files(files)
    names, suffix = [str(file) for file in files], files[0].suffix.lower()
    cache = cache_root() / "tables" / fingerprint[:32]
    options: dict[str, Any] = {"cache_dir": str(cache)}
    with storage_errors(cache, hint=_HINT):
        cache.mkdir(parents=True, exist_ok=True)
    shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    if suffix in _PLAIN and not any(_has_rows(file, header=suffix in (".csv", ".tsv")) for file in files):
        raise SourceError(f"{shown} holds no row.")
    with quiet_datasets():
        try:
            if suffix == ".parquet":
                dataset = read_parquet(files, cache / "rows.arrow")
            elif suffix in (".csv", ".tsv"):
                dataset = datasets.Dataset.from_csv(names, sep="\t" if suffix == ".tsv" else ",", **options)
            elif suffix in (".json", ".jsonl"):
                dataset = datasets.Dataset.from_json(names, **options)
            elif suffix == ".txt":
                dataset = datasets.Dataset.from_text(names, **options)
            else:
                dataset = datasets.concatenate_datasets([datasets.Dataset.from_file(name) for name in names])
        except Exception as error:  # the readers raise whatever the parser below them raises
            cause = root_cause(error)
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise storage_error(cache, cause, hint=_HINT) from error
            raise SourceError(f"Cannot read {shown} as {suffix[1:]}: {type(cause).__name__}: {cause}") from error
    if suffix == ".txt":
        dataset = _without_empty_lines(dataset)
    if len(dataset) == 0:
        raise SourceError(f"{shown} holds no row.")
    return dataset, fingerprint


def _has_rows(file: Path, *, header: bool) -> bool:
    """Whether a text file holds a line that is not blank (beside its first): the readers' words for that are of no help."""
    with file.open("rb") as stream:
        filled = (line for line in stream if line.strip())
        return next(filled, None) is not None and (not header or next(filled, None) is not None)


def _without_empty_lines(dataset: Any) -> Any:
    """Lines of a text file that hold more than white space: blank ones part paragraphs and are no samples."""
    import pyarrow.compute as pc

    view = dataset.with_format("arrow")
    kept = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(view), _BLOCK_ROWS):
        text = view[start : start + _BLOCK_ROWS].column("text")
        filled = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(text)), 0)
        kept.append(np.flatnonzero(filled.to_numpy()) + start)
    indices = np.concatenate(kept)
    return dataset if len(indices) == len(dataset) else dataset.select(indices, keep_in_memory=True)


def root_cause(error: BaseException) -> BaseException:
    """The first error of a chain: what really went wrong."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """No progress bars of the ``datasets`` library inside: standard error belongs to the command."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
