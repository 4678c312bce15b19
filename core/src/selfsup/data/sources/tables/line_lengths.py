"""Refuse lines of a text that are too long to be held in memory."""

from __future__ import annotations

import codecs
import io
from typing import IO, Any

from selfsup.errors import SourceError

MOST_LINE = 1 << 28
"""Most characters of a line of a text table."""
_LINES_BLOCK = 1 << 16
_CONTINUATION = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that do not begin a character."""


class LineLength:
    """Counts the characters since the last end of a line, block by block.

    Args:
        name: of the file, for the message.
        encoding: in UTF-16 and UTF-32 characters of 2 and 4 bytes are counted, in UTF-8 all but continuation bytes, in others
            bytes. Empty: as in UTF-8.
    """

    def __init__(self, name: str, encoding: str = "") -> None:
        kind = codecs.lookup(encoding or "utf-8").name
        self._name, self._length, self._read, self._begin = name, 0, 0, 0
        self._width = {"utf-16": 2, "utf-32": 4}.get(kind[:6], 1)
        self._dropped = _CONTINUATION if kind.startswith("utf-8") else b""

    def feed(self, block: bytes) -> None:
        """Count a block.

        Raises:
            SourceError: a line is longer than :data:`MOST_LINE`.
        """
        end = block.rfind(b"\n")
        if end < 0:
            end = block.rfind(b"\r")
        if end >= 0:
            self._length, self._begin = 0, self._read + end + 1
        self._length += len(block[end + 1 :].translate(None, self._dropped)) // self._width
        self._read += len(block)
        if self._length > MOST_LINE:
            raise SourceError(
                f"Cannot read {self._name}: the line at byte {self._begin:,} has more than {MOST_LINE:,} characters, so the "
                "file is damaged or not made of lines. Break it into lines, or store long texts as parquet."
            )


class _BoundedLines(io.BufferedIOBase):
    """A stream that ends with an error at a line that is too long; to be read by an ``io.TextIOWrapper`` alone."""

    def __init__(self, stream: IO[bytes], name: str, encoding: str) -> None:
        self._stream, self._length = stream, LineLength(name, encoding)

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        """Read a block of some size: small ones would take longer."""
        block = self._stream.read(max(size, _LINES_BLOCK))
        self._length.feed(block)
        return block

    def close(self) -> None:
        self._stream.close()
        super().close()


def bounded_lines(stream: IO[bytes], name: str, encoding: str, *, newline: str | None = None) -> io.TextIOWrapper:
    """The text of a stream, to read line by line. A line is held in memory, so one without an end is refused.

    Args:
        stream: closed with the text.
        name: of the file, for the message.
        encoding: of the text; invalid bytes are read as U+FFFD.
        newline: as for :func:`open`.

    Raises:
        SourceError: on reading, if a line is longer than :data:`MOST_LINE`.
    """
    source: Any = _BoundedLines(stream, name, encoding)
    return io.TextIOWrapper(source, encoding=encoding, errors="replace", newline=newline)
