"""Compress the values of a store without loss: differences of neighbouring values, then zstd, in blocks that are read apart."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from selfsup.errors import StorageError
from selfsup.runtime.machine_load import cpu_count
from selfsup.runtime.threads import in_order

_LEAST_BYTES, _MOST_BYTES = 1 << 14, 1 << 20
"""Small samples share a block of the first size; a sample up to the second has a block of its own, so that it is one read."""
_LEVEL = 1
_MOST_THREADS = 8
_FEW = 16
"""Lines that are faster to add up one by one than by NumPy's cumsum (the channels of an image)."""
_INTEGERS = (1, 2, 4, 8)
"""Bytes of an integer."""
Values = np.ndarray[Any, Any]


def block_steps(shape: Sequence[int], step_bytes: int) -> int:
    """Steps in a block: whole samples of the shape of the first one, as far as they are not very large.

    Args:
        shape: of the first sample; its first dimension counts the steps.
        step_bytes: of one step.
    """
    steps, size = max(shape[0], 1) if shape else 1, max(step_bytes, 1)
    if steps * size > _MOST_BYTES:
        return max(_MOST_BYTES // size, 1)
    return steps * max(_LEAST_BYTES // (steps * size), 1)


def compress(values: Values, axes: Sequence[int]) -> bytes:
    """A block of values as bytes, which :func:`decompress` turns back exactly.

    Args:
        values: [steps, ...].
        axes: along which to take differences, one after the other; they wrap around, so nothing is lost.
    """
    whole = _as_integers(values)
    for axis in axes:
        lines = np.swapaxes(whole, 0, axis)
        whole = whole.copy()
        np.subtract(lines[1:], lines[:-1], out=np.swapaxes(whole, 0, axis)[1:])
    planes = np.ascontiguousarray(whole).reshape(-1, 1).view(np.uint8).T  # first the first byte of each value, and so on
    return bytes(_codec().compress(np.ascontiguousarray(planes).data, asbytes=True))


def decompress(content: bytes, axes: Sequence[int], dtype: str, shape: tuple[int, ...]) -> Values:
    """The values of :func:`compress`, of this type and shape."""
    size = np.dtype(dtype).itemsize
    plain = _codec().decompress(content, decompressed_size=size * math.prod(shape), asbytes=True)
    planes = np.frombuffer(plain, dtype=np.uint8).reshape(size, -1)
    whole = _as_integers(np.ascontiguousarray(planes.T).view(dtype)).reshape(shape)
    for axis in axes:
        if whole.ndim == 1 or whole.shape[axis] > _FEW:  # the sum of two NumPy scalars would warn that it wraps around
            whole = np.cumsum(whole, axis=axis, dtype=whole.dtype)
            continue
        lines = np.swapaxes(whole := whole.copy(), 0, axis)
        for line in range(1, len(lines)):
            lines[line] += lines[line - 1]
    return whole.view(dtype)


def best_axes(values: Values) -> tuple[int, ...]:
    """The axes along which differences make a block smallest: of photos width, height and channels, of codes none."""
    known = [axis for axis in (-1, -2, -3) if -axis <= values.ndim and values.itemsize in _INTEGERS]
    choices = [axes for count in range(len(known) + 1) for axes in combinations(known, count)]
    return min(choices, key=lambda axes: len(compress(values, axes)))


class BlockWriter:
    """Writes values of one key into compressed blocks.

    Args:
        file: where they go.
        first: the first values, [n, ...].
    """

    def __init__(self, file: BinaryIO, first: Values) -> None:
        self._file = file
        self.starts = Path(f"{file.name}.blocks").open("wb")  # noqa: SIM115  # the store's writer closes it
        """int64 [blocks + 1, 2]: where each block begins, and the CRC-32 of the block before it; 0, 0 for the first one."""
        self._shape = first.shape[2:]
        self.steps = block_steps(first.shape[1:], first.itemsize * math.prod(self._shape))
        self.axes: tuple[int, ...] | None = None
        """Along which differences are taken; chosen by the first block."""
        self._waiting: list[Values] = []
        self._count = 0
        self.nbytes = 0
        """Bytes of the blocks so far, and of the values that fill none yet."""
        self._written = 0
        self.starts.write(bytes(16))

    def write(self, values: Values) -> None:
        """Append samples of one shape, [n, ...]."""
        steps = values.reshape(math.prod(values.shape[:2]), *self._shape)
        self._waiting.append(steps.copy())  # the caller may use its memory again
        self._count += len(steps)
        self.nbytes += steps.nbytes
        if self._count >= self.steps:
            waiting = np.concatenate(self._waiting)
            whole = self._count // self.steps * self.steps
            for start in range(0, whole, self.steps):
                self._write(waiting[start : start + self.steps])
            self._waiting, self._count = [waiting[whole:].copy()], self._count - whole

    def _write(self, block: Values) -> None:
        if self.axes is None:
            self.axes = best_axes(block)
        content = compress(block, self.axes)
        self._file.write(content)
        self._written += len(content)
        self.nbytes += len(content) - block.nbytes
        self.starts.write(np.array([self._written, zlib.crc32(content)], dtype=np.int64).tobytes())

    def finish(self) -> dict[str, Any]:
        """Write what is left; gives what the header says of the blocks."""
        if self._count:
            self._write(np.concatenate(self._waiting))
        return {"blocks": Path(self.starts.name).name, "block_steps": self.steps, "differences": list(self.axes or ())}


class BlockReader:
    """Reads stretches of the values of one key from compressed blocks, in threads. Safe to use from several threads.

    Args:
        file: descriptor of the file of blocks.
        path: of the file, for messages.
        starts: int64 [blocks + 1, 2], as :class:`BlockWriter` writes them.
        steps: in a block.
        total: steps in all.
        shape: of a step.
        dtype: NumPy's name of the element type.
        axes: along which differences were taken.
    """

    def __init__(
        self,
        file: int,
        path: Path,
        starts: np.ndarray[Any, np.dtype[np.int64]],
        *,
        steps: int,
        total: int,
        shape: tuple[int, ...],
        dtype: str,
        axes: Sequence[int],
    ) -> None:
        self._file, self._path, self._starts = file, path, starts
        self._steps, self._total, self._shape, self._dtype, self._axes = steps, total, shape, dtype, axes
        self._block_bytes = steps * np.dtype(dtype).itemsize * math.prod(shape)

    def fill(self, parts: Iterable[tuple[memoryview, int]]) -> None:
        """Fill each buffer with the values from a byte on, counted as if nothing was compressed.

        Raises:
            StorageError: a block that is read is damaged, by its CRC-32, or where it begins is not known.
        """
        pieces = [piece for part in parts for piece in self._pieces(*part)]
        threads = min(len(pieces), cpu_count(), _MOST_THREADS)
        if threads < 2:
            return self._fill(pieces)
        for _ in in_order(self._fill, [pieces[first :: 2 * threads] for first in range(2 * threads)], threads):
            pass

    def _pieces(self, buffer: memoryview, offset: int) -> Iterator[tuple[memoryview, int, int]]:
        """Buffer, block and first byte within it, of each block that a stretch touches."""
        while buffer:
            block, skipped = divmod(offset, self._block_bytes)
            size = min(len(buffer), self._block_bytes - skipped)
            yield buffer[:size], block, skipped
            buffer, offset = buffer[size:], offset + size

    def _fill(self, pieces: Iterable[tuple[memoryview, int, int]]) -> None:
        for buffer, block, skipped in pieces:
            values = self._read(block)
            buffer[:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data[skipped : skipped + len(buffer)]

    def _read(self, block: int) -> Values:
        (start, _), (end, checksum) = self._starts[block : block + 2].tolist()
        steps = min(self._steps, self._total - block * self._steps)
        try:
            if not 0 <= start <= end <= int(self._starts[-1, 0]):
                raise ValueError(f"block {block} goes from byte {start} to byte {end}")
            content = os.pread(self._file, end - start, start)
            if zlib.crc32(content) != checksum:
                raise ValueError(f"the bytes of block {block} are not those that were written")
            return decompress(content, self._axes, self._dtype, (steps, *self._shape))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{self._path} is damaged: {error}. Delete {self._path.parent}; it will be made again."
            ) from error


def _as_integers(values: Values) -> Values:
    """The same memory as unsigned integers, whose differences wrap around."""
    return np.ascontiguousarray(values).view(f"u{values.itemsize}") if values.itemsize in _INTEGERS else values


def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("zstd", compression_level=_LEVEL)
