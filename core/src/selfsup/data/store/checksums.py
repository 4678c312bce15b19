"""Checksums of a store's files, which find a changed bit where the values themselves would be read as others."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

from selfsup.errors import StorageError

_CHECKED_BYTES = 64 << 20


class DamagedStoreError(StorageError):
    """The files of a store are damaged: to read them again cannot help, so the store may be deleted and made again."""


def checksums(folder: Path) -> dict[str, int]:
    """CRC-32 of each file of values, before the header is written; not of large ones, since reading them delays every start."""
    files = [file for file in sorted(folder.iterdir()) if file.stat().st_size <= _CHECKED_BYTES]
    return {file.name: zlib.crc32(file.read_bytes()) for file in files}


def check_sums(folder: Path, written: Mapping[str, int]) -> None:
    """Raise a DamagedStoreError that names a file whose content differs from what was written."""
    for name, checksum in written.items():
        if (folder / name).stat().st_size > _CHECKED_BYTES or zlib.crc32((folder / name).read_bytes()) != checksum:
            raise DamagedStoreError(
                f"The store is damaged: {folder / name} differs from its checksum. Delete {folder}; it will be made again."
            )
