"""Write a store sample by sample."""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from selfsup.data.samples import Sample
from selfsup.data.store.checksums import checksums
from selfsup.data.store.compression import BlockWriter
from selfsup.data.store.format import FORMAT, FORMAT_VERSION, HEADER, KEPT, RAW_VERSION
from selfsup.errors import DataError


class Lengths:
    """First dimensions of samples, kept one by one only where they differ."""

    def __init__(self) -> None:
        self.count = 0
        self.common: int | None = None
        """Length of all samples; None before the first."""
        self.each: array[int] | None = None
        """Length of each sample; None while all are equal."""

    def add(self, length: int, times: int = 1) -> None:
        """Note ``times`` samples of this length (-1: no dimension at all)."""
        self.common = length if self.common is None else self.common
        if self.each is None and length != self.common:
            self.each = array("q", [self.common]) * self.count
        if self.each is not None:
            self.each.extend(array("q", [length]) * times)
        self.count += times


class StoreWriter:
    """Streams samples into the files of a folder, which becomes a store with :meth:`finish`.

    Its memory does not grow with the number of samples, as long as these have one shape.

    Args:
        path: of the folder.
        compressed: whether values are compressed, without loss (:mod:`selfsup.data.store.compression`).
    """

    def __init__(self, path: Path, *, compressed: bool = False) -> None:
        self.path, self.compressed = path, compressed
        self._files: dict[str, BinaryIO] = {}
        self._blocks: dict[str, BlockWriter] = {}
        self._types: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._lengths: dict[str, Lengths] = {}
        self._kept: BinaryIO | None = None
        self._count = 0
        self._written = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of the samples so far."""
        return self._written + sum(blocks.nbytes for blocks in self._blocks.values())

    def add(self, row: int, sample: Sample) -> None:
        """Append one sample.

        Raises:
            DataError: it has other keys, element types or trailing dimensions than the first one.
        """
        self.add_many(np.asarray([row]), {key: np.asarray(value)[None] for key, value in sample.items()})

    def add_many(self, rows: np.ndarray[Any, np.dtype[np.int64]], samples: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Append samples of one shape.

        Args:
            rows: [n] the source row of each.
            samples: key to [n, ...].

        Raises:
            DataError: they have other keys, element types or trailing dimensions than the first one.
        """
        if not len(rows):
            return
        kept = self._kept or self._open(samples)
        if samples.keys() != self._types.keys():
            raise DataError(
                f"The processor gave keys {sorted(samples)} for row {rows[0]}, and {sorted(self._types)} for the first one."
            )
        for key, values in samples.items():
            shape = values.shape[1:]
            if _kind(values) != self._types[key]:
                dtype, trailing = self._types[key]
                raise DataError(
                    f"The processor gave {key!r} as {values.dtype.name} {list(shape)} for row {rows[0]}; the first row has "
                    f"{dtype} [..., {', '.join(map(str, trailing))}]. Only the first dimension may differ."
                )
            if self.compressed:
                self._blocks[key].write(values)
            else:
                self._files[key].write(np.ascontiguousarray(values).data if values.size else b"")
                self._written += values.nbytes
            self._lengths[key].add(shape[0] if shape else -1, len(rows))
        kept.write(np.ascontiguousarray(rows, dtype=np.int64).data)
        self._count += len(rows)

    def finish(
        self,
        *,
        source_rows: int,
        bad_rows: list[tuple[int, str]],
        fingerprint: str,
        processor: str,
        remarks: Mapping[str, int] | None = None,
        source: str = "",
    ) -> None:
        """Close the files and write the header, all of it on the disk when this returns."""
        fields = []
        for key, file in self._files.items():
            about = self._blocks[key].finish() if self.compressed else {}
            for each in (file, *([self._blocks[key].starts] if self.compressed else [])):
                each.flush()
                os.fsync(each.fileno())
                each.close()
            lengths = self._lengths[key]
            dtype, trailing = self._types[key]
            field = {"key": key, "file": Path(file.name).name, "dtype": dtype, "shape": list(trailing), "starts": "", **about}
            if lengths.each is not None:
                field["starts"] = f"{field['file']}.starts"
                self._dump(str(field["starts"]), np.concatenate([[0], np.cumsum(np.frombuffer(lengths.each, dtype=np.int64))]))
            elif lengths.common is not None and lengths.common >= 0:
                field["shape"] = [lengths.common, *trailing]
            fields.append(field)
        if self._kept is not None:
            self._kept.flush()
            os.fsync(self._kept.fileno())
            self._kept.close()
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION if self.compressed else RAW_VERSION,
            "n": self._count,
            "source_rows": source_rows,
            "fingerprint": fingerprint,
            "source": source,
            "processor": processor,
            "fields": fields,
            "bad_rows": bad_rows,
            "remarks": dict(remarks or {}),
            "checksums": {} if self.compressed else checksums(self.path),  # compressed blocks have their own
        }
        with (self.path / HEADER).open("w") as file_:
            json.dump(header, file_, indent=1)
            file_.flush()
            os.fsync(file_.fileno())

    def close(self) -> None:
        """Close the files without finishing; errors are ignored, since the files are not used."""
        starts = [blocks.starts for blocks in self._blocks.values()]
        for file in (*self._files.values(), *starts, *([self._kept] if self._kept is not None else [])):
            with contextlib.suppress(OSError):
                file.close()

    def _open(self, samples: Mapping[str, np.ndarray[Any, Any]]) -> BinaryIO:
        """Open the files of all keys, and give that of the rows' numbers."""
        if not samples:
            raise DataError("The processor gave a sample without any key.")
        for number, (key, values) in enumerate(samples.items()):
            self._types[key] = _kind(values)
            self._lengths[key] = Lengths()
            self._files[key] = (self.path / f"{number}.values").open("wb", buffering=1 << 20)
            if self.compressed:
                self._blocks[key] = BlockWriter(self._files[key], values)
        self._kept = (self.path / KEPT).open("wb", buffering=1 << 20)
        return self._kept

    def _dump(self, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
        with (self.path / name).open("wb") as file:
            file.write(np.ascontiguousarray(values, dtype=np.int64).data)
            file.flush()
            os.fsync(file.fileno())


def _kind(values: np.ndarray[Any, Any]) -> tuple[str, tuple[int, ...]]:
    """Element type, and all dimensions of a sample but its first."""
    return values.dtype.name, tuple(int(size) for size in values.shape[2:])
