"""Writing a store sample by sample."""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from pathlib import Path
from typing import BinaryIO

import numpy as np

from selfsup.data.processor import Sample
from selfsup.data.store import FORMAT, FORMAT_VERSION, HEADER, KEPT
from selfsup.errors import DataError


class StoreWriter:
    """Streams samples into the files of a folder, which becomes a store with :meth:`finish`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, BinaryIO] = {}
        self._types: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._lengths: dict[str, array[int]] = {}
        self._kept = array("q")

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, row: int, sample: Sample) -> None:
        """Append one sample.

        Raises:
            DataError: it has other keys, element types or trailing dimensions than the first one.
        """
        if not self._kept:
            self._open(sample)
        if sample.keys() != self._types.keys():
            raise DataError(
                f"The processor gave keys {sorted(sample)} for row {row}, and {sorted(self._types)} for the first one."
            )
        for key, value in sample.items():
            values = np.ascontiguousarray(value)
            values = values.reshape(np.shape(value))  # ascontiguousarray makes a scalar one-dimensional
            if _kind(values) != self._types[key]:
                dtype, trailing = self._types[key]
                raise DataError(
                    f"The processor gave {key!r} as {values.dtype.name} {list(values.shape)} for row {row}; the first row has "
                    f"{dtype} [..., {', '.join(map(str, trailing))}]. Only the first dimension may differ."
                )
            self._files[key].write(values.data if values.size else b"")
            self._lengths[key].append(len(values) if values.ndim else -1)
        self._kept.append(row)

    def finish(self, *, source_rows: int, bad_rows: list[tuple[int, str]], fingerprint: str, processor: str) -> None:
        """Close the files and write the header, all of it on the disk when this returns."""
        fields = []
        for key, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            lengths = np.frombuffer(self._lengths[key], dtype=np.int64)
            dtype, trailing = self._types[key]
            field = {"key": key, "file": Path(file.name).name, "dtype": dtype, "shape": list(trailing), "starts": ""}
            if (lengths != lengths[0]).any():
                field["starts"] = f"{field['file']}.starts"
                self._dump(str(field["starts"]), np.concatenate([[0], np.cumsum(lengths)]))
            elif lengths[0] >= 0:
                field["shape"] = [int(lengths[0]), *trailing]
            fields.append(field)
        self._dump(KEPT, np.frombuffer(self._kept, dtype=np.int64))
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "n": len(self._kept),
            "source_rows": source_rows,
            "fingerprint": fingerprint,
            "processor": processor,
            "fields": fields,
            "bad_rows": bad_rows,
        }
        with (self.path / HEADER).open("w") as file_:
            json.dump(header, file_, indent=1)
            file_.flush()
            os.fsync(file_.fileno())

    def close(self) -> None:
        """Close the files without finishing; what cannot be written any more is of no use to anyone."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()

    def _open(self, sample: Sample) -> None:
        if not sample:
            raise DataError("The processor gave a sample without any key.")
        for number, (key, value) in enumerate(sample.items()):
            self._types[key] = _kind(np.asarray(value))
            self._lengths[key] = array("q")
            self._files[key] = (self.path / f"{number}.values").open("wb", buffering=1 << 20)

    def _dump(self, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
        with (self.path / name).open("wb") as file:
            file.write(np.ascontiguousarray(values, dtype=np.int64).data)
            file.flush()
            os.fsync(file.fileno())


def _kind(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> tuple[str, tuple[int, ...]]:
    """Element type, and all dimensions but the first."""
    return values.dtype.name, tuple(int(size) for size in values.shape[1:])
