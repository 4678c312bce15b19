"""Compute a 64-bit hash of a row's content, the same in every file and every order of rows and columns."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.damaged_files import read_npy
from selfsup.data.rows import Rows
from selfsup.errors import ConfigError, DataError
from selfsup.runtime.cache_folder import cache_root
from selfsup.runtime.files import atomic_write
from selfsup.runtime.threads import in_order
from selfsup.types import Row

HASH_VERSION = 1
"""Grows when the same row gets another hash."""
HashArray = np.ndarray[Any, np.dtype[np.uint64]]
_FILE_BYTES = 1 << 20
_PART_ROWS = 32


def row_hashes(rows: Rows, roles: Sequence[str] | None = None, *, workers: int = 4) -> HashArray:
    """[N] uint64, one hash a row of what it holds.

    What counts is the content: of a file its bytes (not its name or place), of a number its value (1 and 1.0 are the same, and
    a missing value is the same as NaN), of a text its characters. Labels do not count. Rows that are alike have the same hash;
    two different ones share one with a probability of 2^-64.

    Files are read once, at about a millisecond a megabyte; of tables a million rows of 15 columns take about two seconds. The
    result is kept in the cache by the rows' fingerprint (8 bytes a row), and mapped from there (it cannot be changed then).
    ``prepare`` leaves it there, too: it hashes rows while it decodes them.

    Args:
        rows: N rows.
        roles: what to look at; None: all roles. A role that is missing here counts as empty; the label column may be named.
        workers: threads that read files.
    """
    chosen = rows if roles is None or set(roles) == set(rows.columns) else _with_roles(rows, roles)
    path = _path(chosen)
    if (known := _recall(path, len(rows))) is not None:
        return known
    found = np.zeros(len(rows), dtype=np.uint64)
    if chosen.columns:
        # Of several texts a row the first is taken where rows are read one by one.
        parts: Iterator[tuple[int, Any]] = _lists(chosen) if chosen.media or chosen.firsts else chosen.tables()
        for start, hashes in in_order(lambda part: (part[0], hashes_of(part[1])), parts, workers if chosen.media else 1):
            found[start : start + len(hashes)] = hashes
    _remember(path, found)
    return found


def remember_hashes(rows: Rows, hashes: HashArray) -> None:
    """Keep the hashes of all roles of rows, which were computed on the way, for :func:`row_hashes`."""
    _remember(_path(rows), hashes)


def hashes_of(rows: Any) -> HashArray:
    """[n] uint64, the hash of each row of a list of rows or of a ``pyarrow.Table`` whose columns are the roles."""
    if isinstance(rows, Sequence):
        columns = {role: [row[role] for row in rows] for role in (rows[0] if rows else ())}
    else:
        columns = {role: rows.column(role) for role in rows.column_names}
    total = np.zeros(len(rows), dtype=np.uint64)
    for role, values in columns.items():
        total += _column(values, _of_bytes(role.encode()))  # a sum: the order of the columns makes no difference
    return _mixed(total)


def held_out(hashes: HashArray, share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """[N] bool, whether a row is held out: this depends on its hash alone.

    Args:
        hashes: [N], from :func:`row_hashes`.
        share: of all possible hashes that are held out, 0 to 1. The rows of a smaller share are among those of a larger one.
    """
    return _mixed(hashes ^ np.uint64(0x686F6C646F757421)) < np.uint64(min(int(share * 2**64), 2**64 - 1))


def hold_out(rows: Rows, share: float, roles: Sequence[str] | None = None) -> tuple[Rows, Rows]:
    """Split rows in two by their content: the rest, and about ``share`` of them.

    Rows that are alike are on one side, so the share of the rows may differ where there are many of one kind.

    Raises:
        ConfigError: ``share`` is not at least 0 and below 1.
        DataError: one of the sides is empty.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"holdout={share} is not allowed: it is the share of the rows to hold out, at least 0 and below 1.")
    outside = held_out(row_hashes(rows, roles), share)
    if share and (outside.all() or not outside.any()):
        side = "holds out all" if outside.all() else "holds out none"
        raise DataError(
            f"holdout={share:g} {side} of the {len(rows)} rows of {rows.name}: the side of a row follows from what it holds, "
            "and rows that are alike lie on one side. Choose another share, or give more rows."
        )
    return rows.select(np.flatnonzero(~outside)), rows.select(np.flatnonzero(outside))


def mixed(hashes: HashArray) -> HashArray:
    """Hashes of hashes, which say nothing of the side that a row is on."""
    return _mixed(hashes ^ np.uint64(0x736B65746368))


def each_once(hashes: HashArray) -> HashArray:
    """Each of the hashes once, sorted. ``numpy.unique`` takes several times as long, and about 40 bytes a hash."""
    found = np.sort(hashes)
    return found[np.append(True, found[1:] != found[:-1])] if len(found) else found


def _with_roles(rows: Rows, roles: Sequence[str]) -> Rows:
    """The rows with these roles as far as there are columns for them, the label's among them if it is named."""
    columns = {role: rows.columns[role] for role in roles if role in rows.columns}
    if rows.label is not None and rows.label in roles and rows.label not in columns:
        columns[rows.label] = rows.label
    return replace(rows, columns=columns, label=None, reader=None, whole=None)


def _lists(rows: Rows) -> Iterator[tuple[int, list[Row]]]:
    for start, chunk in rows.chunks():
        for offset in range(0, len(chunk), _PART_ROWS):
            yield start + offset, chunk[offset : offset + _PART_ROWS]


def _column(values: Any, salt: int) -> HashArray:
    """[n], what a column adds to the hashes of its rows; 0 where a value is missing."""
    import pyarrow as pa

    if isinstance(values, list):
        first = next((value for value in values if value is not None), None)
        if isinstance(first, Mapping | bytes | list | tuple | np.ndarray):
            return _salted([_of_value(value) for value in values], salt)
        try:
            values = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeError):  # of several types, or one that no column has
            if len(values) > 1:  # each as in a column of its own type: neighbours make no difference
                return np.concatenate([_column([value], salt) for value in values])
            return _salted([_of_value(value) for value in values], salt)
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ChunkedArray):  # of no chunk
        return np.zeros(0, dtype=np.uint64)
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        coded = array.dictionary_encode()
        known = np.array([_of_bytes(text.encode()) for text in coded.dictionary.to_pylist()], dtype=np.uint64)
        places = np.asarray(coded.indices.fill_null(0))
        found = known[places] if len(known) else np.zeros(len(array), dtype=np.uint64)
        return _where_there(_mixed(found + np.uint64(salt)), np.asarray(array.is_valid()))
    numbers = _numbers(array)
    if numbers is None:
        return _salted([_of_value(value) for value in array.to_pylist()], salt)
    there = np.asarray(array.is_valid()) & ~np.isnan(numbers)
    bits = np.where(there, numbers + 0.0, 0.0).view(np.uint64)  # -0.0 becomes 0.0
    return _where_there(_mixed(_mixed(bits) + np.uint64(salt)), there)


def _numbers(array: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """[n] float64 of a column of numbers, truths or times; None where it is none."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        array = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    elif pa.types.is_duration(kind):
        array = array.cast(pa.duration("us"), safe=False).cast(pa.int64())
    elif pa.types.is_time32(kind) or pa.types.is_time64(kind):
        array = array.cast(pa.time64("us"), safe=False).cast(pa.int64())
    elif pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    return np.asarray(array.cast(pa.float64(), safe=False).fill_null(np.nan), dtype=np.float64)


def _salted(values: list[int | None], salt: int) -> HashArray:
    found = np.array([value or 0 for value in values], dtype=np.uint64)
    return _where_there(_mixed(found + np.uint64(salt)), np.array([value is not None for value in values], dtype=bool))


def _where_there(hashes: HashArray, there: np.ndarray[Any, np.dtype[np.bool_]]) -> HashArray:
    return np.where(there, hashes, np.uint64(0))


def _of_value(value: Any) -> int | None:
    """Hash of one value of any kind; None where it is missing."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bytes):
        return _of_bytes(value)
    if isinstance(value, str):
        return _of_bytes(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        if {"bytes", "path"} >= set(value):
            return _of_file(value)
        parts = [(str(key), _of_value(item)) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))]
        return _of_bytes(json.dumps(parts).encode())
    if isinstance(value, list | tuple | np.ndarray):
        try:
            array = np.asarray(value, dtype=np.float64)
        except (ValueError, TypeError):
            return _of_bytes(json.dumps([_of_value(item) for item in value]).encode())
        return _of_bytes(repr(array.shape).encode() + (array + 0.0).tobytes())
    if isinstance(value, bool | int | float):
        with suppress(OverflowError):  # no float holds it
            return _of_bytes(np.float64(value + 0.0).tobytes())
    return _of_bytes(str(value).encode())


def _of_file(value: Mapping[str, Any]) -> int | None:
    """Hash of the bytes of a file, or of the frames of a folder of them; of the path where it cannot be read."""
    if value.get("bytes") is not None:
        return _of_bytes(value["bytes"])
    if not value.get("path"):
        return None
    path = Path(value["path"])
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return _of_content(path, status.st_size, status.st_mtime_ns)
        return _digest(sorted(item for item in path.iterdir() if item.is_file()))
    except (OSError, ValueError):  # a bad row, which is named where it is decoded
        return _of_bytes(os.fsencode(path))


@functools.lru_cache(maxsize=1024)
def _of_content(path: Path, size: int, modified: int) -> int:
    """Of a file that many rows may name (segments of one recording): it is read once for all of them."""
    if not path.is_file():
        raise OSError(f"{path} is a device or a pipe, which may never end")
    return _digest([path])


def _digest(files: Sequence[Path]) -> int:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while content := stream.read(_FILE_BYTES):
                digest.update(content)
    return int.from_bytes(digest.digest()[:8])


def _of_bytes(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8])


def _mixed(values: HashArray) -> HashArray:
    """The finalizer of splitmix64 (Steele et al. 2014, OOPSLA, "Fast splittable pseudorandom number generators")."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _path(rows: Rows) -> Path | None:
    """Where the hashes of these rows are kept; None where the rows do not say what they are."""
    if not rows.fingerprint:
        return None
    key = json.dumps([HASH_VERSION, rows.fingerprint, sorted(rows.columns.items())])
    return cache_root() / "hashes" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.npy"


def _recall(path: Path | None, count: int) -> HashArray | None:
    if path is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            found: HashArray = read_npy(file, mapped=True)
    except (OSError, ValueError):
        return None
    return found if found.shape == (count,) and found.dtype == np.uint64 else None


def _remember(path: Path | None, hashes: HashArray) -> None:
    if path is not None:
        atomic_write(path, lambda file: np.save(file, hashes, allow_pickle=False))
