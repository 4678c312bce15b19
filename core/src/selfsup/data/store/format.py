"""The format of processed samples on disk, read without loading them whole.

A store is a folder: ``header.json``, and for each key of a sample one file of raw values, sample after sample; where samples
differ in their first dimension, a file of where each begins as well. The header is written last, and a whole folder appears
by a rename, so what has a header is complete. Where raw values would not fit on the disk, the files of values are compressed
in blocks, and a file says where each block begins and has its checksum.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.damaged_files import read_json, reading
from selfsup.data.batches.permutation import IndexArray
from selfsup.data.store.checksums import DamagedStoreError, check_sums
from selfsup.data.store.compression import BlockReader
from selfsup.errors import DataError, StorageError
from selfsup.runtime.shared_lock import hold_shared

FORMAT = "selfsup-store"
RAW_VERSION, FORMAT_VERSION = 1, 2
"""Of stores with raw values, and of those with compressed ones."""
HEADER = "header.json"
KEPT = "kept.int64"
_RESIDENT_BYTES = 64 << 20
_RESIDENT_ITEM = 1024
_DAMAGED = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
"""Errors of the system that a damaged folder or header causes; others, such as too many open files, may pass."""


@dataclass(frozen=True)
class Field:
    """One key of the samples, as the header describes it."""

    key: str
    file: str
    """Name of the file of values."""
    dtype: str
    """NumPy's name of the element type."""
    shape: tuple[int, ...]
    """Of one sample; without its first dimension where ``starts`` is given."""
    starts: str = ""
    """Name of the file of int64 [N + 1], the first index at which each sample begins; empty: all samples have one shape."""
    blocks: str = ""
    """Name of the file of int64 [blocks + 1, 2], where each compressed block begins and the CRC-32 of the one before it; empty:
    the values are raw."""
    block_steps: int = 0
    """Steps along the first dimension of samples in a block."""
    differences: tuple[int, ...] = ()
    """Axes along which differences are taken before a block is compressed."""

    @property
    def item_bytes(self) -> int:
        """Bytes of one sample, or of one step along its first dimension where samples differ in that."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


class Store:
    """Reads samples by number. Safe to use from several threads; only what :meth:`read` returns takes memory."""

    def __init__(self, path: str | Path) -> None:
        """Open a store.

        Raises:
            DamagedStoreError: it is not a store, or a file is shorter or longer than the header says.
            StorageError: it is of a later version, or cannot be read now (too many open files, no permission, a disk error,
                full memory).
        """
        self.path = Path(path)
        self._resident: dict[str, Tensor] = {}
        self._files: dict[str, int] = {}
        self._held: list[int] = []
        self._finalizer = weakref.finalize(self, _close, self._files, self._held)
        try:
            with reading(self.path, DamagedStoreError, f"Delete {self.path}; it will be made again.", what="a store"):
                try:
                    self._open()
                except OSError as error:
                    if error.errno in _DAMAGED:
                        raise
                    raise StorageError(f"Cannot read the store {self.path}: {error.strerror or error}.") from error
                except MemoryError as error:
                    raise StorageError(f"Cannot read the store {self.path}: the memory is full.") from error
        except BaseException:
            self._finalizer()
            raise

    def _open(self) -> None:
        self._header = _read_header(self.path)
        self.fields = {item["key"]: _field(item) for item in self._header["fields"]}
        self.fingerprint = str(self._header["fingerprint"])
        """Of the rows it was made from."""
        self.source_rows = int(self._header["source_rows"])
        """Number of rows it was made from, bad ones included."""
        self.bad_rows: list[tuple[int, str]] = [(int(index), str(reason)) for index, reason in self._header["bad_rows"]]
        """Index and reason of each source row that could not be processed."""
        self.remarks = {str(text): int(count) for text, count in self._header.get("remarks", {}).items()}
        """What the processor said of rows that can be used, and of how many (:meth:`selfsup.data.Processor.remark`)."""
        self._n = int(self._header["n"])
        self.kept: IndexArray = self._map(KEPT, self._n)
        """[N] int64, the source row of each sample."""
        self._starts = {key: self._load(field.starts, self._n + 1) for key, field in self.fields.items() if field.starts}
        for key, starts in self._starts.items():
            if starts[0] != 0 or (np.diff(starts) < 0).any():
                raise ValueError(f"the samples of {key!r} do not follow each other")
        if (held := hold_shared(self.path / HEADER)) is not None:
            self._held.append(held)
        self._blocks = {key: self._open_blocks(field) for key, field in self.fields.items() if field.blocks}
        for key, field in self.fields.items():
            if key not in self._blocks:
                steps = int(self._starts[key][-1]) if key in self._starts else self._n
                self._check_size(field.file, steps * field.item_bytes)
                self._files[key] = os.open(self.path / field.file, os.O_RDONLY)
        check_sums(self.path, self._header.get("checksums", {}))

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {self._n} samples)"

    @property
    def nbytes(self) -> int:
        """Bytes of all samples on disk."""
        return sum(os.fstat(descriptor).st_size for descriptor in self._files.values())

    def total_lengths(self) -> IndexArray | None:
        """[N] int64, the steps of each sample over all keys that differ between samples; None where all are of one shape."""
        lengths = [np.diff(starts) for starts in self._starts.values()]
        return np.sum(lengths, axis=0, dtype=np.int64) if lengths else None

    def steps(self, key: str, indices: IndexArray) -> IndexArray:
        """[B] int64, the size of the key's first dimension in each of the samples ``indices``."""
        if key in self._starts:
            starts = self._starts[key]
            return starts[indices + 1] - starts[indices]
        return np.full(len(indices), self.fields[key].shape[0], dtype=np.int64)

    def lengths(self, key: str) -> IndexArray | None:
        """[N] int64, the first dimension of each sample, or None where all samples have one shape."""
        return np.diff(self._starts[key]) if key in self._starts else None

    def read(
        self, indices: Any, windows: Mapping[str, tuple[IndexArray, IndexArray]] | None = None
    ) -> dict[str, Tensor | list[Tensor]]:
        """Samples by number, in the order given: by key a tensor [B, ...], or a list of B tensors where shapes differ.

        Args:
            indices: [B] numbers of samples.
            windows: key to ([B] first step, [B] number of steps): the part along the first dimension to read of each sample,
                for keys that are not read as a whole. Nothing else of them is read.

        Raises:
            DataError: a number is out of range.
            StorageError: a file ends before the sample does.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self._n):
            raise DataError(f"Samples {int(wanted.min())} to {int(wanted.max())} were asked of a store of {self._n}.")
        samples: dict[str, Tensor | list[Tensor]] = {}
        for key, field in self.fields.items():
            if windows is not None and key in windows:
                samples[key] = self._read_windows(key, wanted, *windows[key])
            else:
                samples[key] = self._read_ragged(key, wanted) if field.starts else self._read_fixed(key, wanted)
        return samples

    def column(self, key: str) -> Tensor:
        """One key of all samples, [N, ...], where all are of one shape.

        Raises:
            DataError: there is no such key, or samples differ in its first dimension.
        """
        if key not in self.fields or self.fields[key].starts:
            raise DataError(f"The samples have no key {key!r} of one shape; their keys are {', '.join(self.fields)}.")
        return self._read_fixed(key, np.arange(self._n))

    def close(self) -> None:
        """Close the files; this happens automatically when the store is no longer used."""
        self._finalizer()

    def _read_fixed(self, key: str, wanted: IndexArray) -> Tensor:
        """Where all samples of a key are small and few, they are read once and kept: a read of each would take longer."""
        field = self.fields[key]
        if field.item_bytes <= _RESIDENT_ITEM and self._n * field.item_bytes <= _RESIDENT_BYTES:
            if key not in self._resident:
                self._resident[key] = self._read_runs(key, np.arange(self._n))
            return self._resident[key][torch.from_numpy(wanted)]
        return self._read_runs(key, wanted)

    def _read_runs(self, key: str, wanted: IndexArray) -> Tensor:
        field = self.fields[key]
        values = torch.empty((len(wanted), *field.shape), dtype=_torch_dtype(field.dtype))
        buffer, size = _bytes_of(values), field.item_bytes
        self._fill(key, [(buffer[i * size : k * size], int(wanted[i]) * size) for i, k in _runs(wanted)])
        return values

    def _read_ragged(self, key: str, wanted: IndexArray) -> list[Tensor]:
        field, starts = self.fields[key], self._starts[key]
        lengths = starts[wanted + 1] - starts[wanted]
        places = np.concatenate([[0], np.cumsum(lengths)])
        values = torch.empty((int(places[-1]), *field.shape), dtype=_torch_dtype(field.dtype))
        buffer, size = _bytes_of(values), field.item_bytes
        ends = (places * size).tolist()
        self._fill(key, [(buffer[ends[i] : ends[k]], int(starts[wanted[i]]) * size) for i, k in _runs(wanted)])
        return list(torch.split(values, lengths.tolist()))

    def _read_windows(self, key: str, wanted: IndexArray, first: IndexArray, count: IndexArray) -> Tensor | list[Tensor]:
        field, steps = self.fields[key], self.steps(key, wanted)
        if wanted.size and (first.min() < 0 or count.min() < 0 or (first + count > steps).any()):
            raise DataError(f"A window of {key!r} reaches beyond its sample.")
        trailing = field.shape if field.starts else field.shape[1:]
        size = field.item_bytes if field.starts else field.item_bytes // max(field.shape[0], 1)
        begins = self._starts[key][wanted] if field.starts else wanted * field.shape[0]
        values = torch.empty((int(count.sum()), *trailing), dtype=_torch_dtype(field.dtype))
        buffer, ends = _bytes_of(values), np.cumsum(count * size).tolist()
        offsets = ((begins + first) * size).tolist()
        self._fill(key, [(buffer[i:k], offset) for i, k, offset in zip([0, *ends], ends, offsets, strict=False)])
        parts = list(torch.split(values, count.tolist()))
        return values.view(len(parts), -1, *trailing) if parts and len(set(count.tolist())) == 1 else parts

    def _fill(self, key: str, parts: list[tuple[memoryview, int]]) -> None:
        """Fill each buffer with the key's values from a byte on; one call to the system may read less than was asked for."""
        if key in self._blocks:
            return self._blocks[key].fill(parts)
        for buffer, offset in parts:
            while buffer:
                count = os.preadv(self._files[key], [buffer], offset)
                if count == 0:
                    raise StorageError(
                        f"{self.path / self.fields[key].file} ends too early. Delete {self.path}; it will be made again."
                    )
                buffer, offset = buffer[count:], offset + count

    def _open_blocks(self, field: Field) -> BlockReader:
        shape = field.shape if field.starts else field.shape[1:]
        steps = int(self._starts[field.key][-1]) if field.starts else self._n * math.prod(field.shape[:1])
        starts = self._map(field.blocks, 2 * (math.ceil(steps / field.block_steps) + 1)).reshape(-1, 2)
        self._check_size(field.file, int(starts[-1, 0]))
        self._files[field.key] = os.open(self.path / field.file, os.O_RDONLY)
        return BlockReader(
            self._files[field.key],
            self.path / field.file,
            starts,
            steps=field.block_steps,
            total=steps,
            shape=shape,
            dtype=field.dtype,
            axes=field.differences,
        )

    def _load(self, name: str, count: int) -> IndexArray:
        self._check_size(name, 8 * count)
        return np.fromfile(self.path / name, dtype=np.int64)

    def _map(self, name: str, count: int) -> IndexArray:
        """As :meth:`_load`, left on the disk until it is looked at."""
        self._check_size(name, 8 * count)
        mapped: IndexArray = np.memmap(self.path / name, dtype=np.int64, mode="r")
        return mapped

    def _check_size(self, name: str, expected: int) -> None:
        file = self.path / name
        size = file.stat().st_size if file.exists() else None
        if size != expected:
            state = "is missing" if size is None else f"has {size} bytes in the place of {expected}"
            raise DamagedStoreError(f"The store is damaged: {file} {state}. Delete {self.path}; it will be made again.")


def _field(item: Mapping[str, Any]) -> Field:
    lists = {name: tuple(item[name]) for name in ("shape", "differences") if name in item}
    return Field(**{**item, **lists})


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = read_json(path / HEADER)
    except FileNotFoundError:
        raise DamagedStoreError(f"{path} is not a store: it has no {HEADER}.") from None
    except ValueError as error:
        raise DamagedStoreError(f"Cannot read {path / HEADER}: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DamagedStoreError(f"{path} is not a store: {HEADER} does not say {FORMAT!r}.")
    if header["version"] > FORMAT_VERSION:
        raise StorageError(
            f"{path} was written by a later selfsup (store format {header['version']}; this one reads up to {FORMAT_VERSION}). "
            "Update selfsup, or delete it."
        )
    return header


def _runs(wanted: IndexArray) -> list[tuple[int, int]]:
    """Stretches [first, last) of ``wanted`` that follow each other on disk; each is one read."""
    if not wanted.size:
        return []
    breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
    edges = [0, *breaks.tolist(), len(wanted)]
    return list(itertools.pairwise(edges))


def _torch_dtype(name: str) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype=name)).dtype


def _bytes_of(values: Tensor) -> memoryview:
    """The tensor's memory, to write into."""
    return values.view(-1).numpy().view(np.uint8).data


def _close(files: dict[str, int], held: list[int]) -> None:
    for descriptor in (*files.values(), *held):
        os.close(descriptor)
    files.clear()
    held.clear()
