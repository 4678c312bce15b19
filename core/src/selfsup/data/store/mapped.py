"""Giving back the memory of Arrow files that are mapped, once their rows have been read.

``datasets`` maps its files into memory. Every page that was touched counts as resident until the system is short of memory,
so that one pass over a large data set looks as if all of it were loaded.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MAPS = Path("/proc/self/maps")


class MappedPages:
    """The mapped regions of one data set; none where nothing is mapped or the system does not tell."""

    def __init__(self, dataset: Any) -> None:
        """Find the mappings of ``dataset`` (a ``datasets.Dataset``)."""
        self._table = dataset.data  # keeps the mappings alive, so that their addresses stay theirs
        files = {str(Path(entry["filename"]).resolve()) for entry in dataset.cache_files}
        self._regions = _regions(files, _addresses(self._table)) if files else []

    def release(self) -> None:
        """Let go of the pages; they are read from the file again when they are next wanted."""
        advise = _madvise()
        if advise is None:
            return
        for start, size in self._regions:
            advise(start, size, mmap.MADV_DONTNEED)


def _addresses(table: Any) -> list[int]:
    """Where the table's buffers lie, sorted."""
    found = {
        buffer.address
        for column in table.table.itercolumns()
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None
    }
    return sorted(found)


def _regions(files: set[str], addresses: list[int]) -> list[tuple[int, int]]:
    """Mappings of ``files`` that hold one of ``addresses``.

    Both conditions are needed: dropping pages that are no file's would lose data, and a mapping of the same file that belongs
    to another object could vanish between this look and the use.
    """
    if not _MAPS.exists():
        return []
    regions = []
    for line in _MAPS.read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 6 or fields[5] not in files:
            continue
        start, end = (int(part, 16) for part in fields[0].split("-"))
        if any(start <= address < end for address in addresses):
            regions.append((start, end - start))
    return regions


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """The C library's ``madvise``, or None where there is none."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "madvise", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]  # a foreign function has no static type
