"""Detect the encoding of a text file.

UTF-8 follows strict rules; UTF-16 has a byte-order mark or many zero bytes. Other text is taken as Western European (cp1252) if
bytes beyond ASCII occur alone between letters, as accents do. If they occur in runs, they are letters of another script, which
several encodings could read: then the user must name the encoding.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from selfsup.data.sources.tables.line_lengths import LineLength, bounded_lines
from selfsup.errors import SourceError


def _open_zip(path: Path, _: str) -> IO[bytes]:
    """The only file of an archive."""
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    if len(names) != 1:
        archive.close()
        raise SourceError(
            f"{path} holds {len(names)} files, but a compressed table is one file: unpack it, and name the folder."
        )
    return archive.open(names[0])


COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zip": _open_zip}
"""Suffix of a compressed file to the function that opens it."""
MOST_RATIO, LEAST_BOMB = 200, 1 << 30
"""A compressed file is refused once it has grown to this multiple of its size, and to this many bytes."""
_BLOCK = 1 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_SAMPLE = 1 << 16
_AROUND = 24
_HIGH = re.compile(rb"[\x80-\xff]+")
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_MOSTLY_UTF8 = 0.9
"""If at least this share of the letters beyond ASCII is valid UTF-8, the others are damage."""
_IN_ROWS = 0.5
"""If at least this share of the bytes beyond ASCII has such a neighbour, they are another script."""


class FoundEncoding(NamedTuple):
    """The encoding of a file and how sure it is."""

    name: str
    """Python's name for it."""
    example: str = ""
    """A word as the guessed encoding reads it; empty if it is no guess."""
    damaged: int = 0
    """Invalid bytes, which are read as U+FFFD."""


def kind_suffix(path: Path) -> str:
    """The suffix of a file in lower case, without that of its compression: ``.csv`` for ``rows.CSV.gz``."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSED else suffix


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed according to its suffix.

    Raises:
        SourceError: on reading, if it is a decompression bomb (:class:`Bounded`).
    """
    unpack = COMPRESSED.get(path.suffix.lower())
    if unpack is None:
        return path.open("rb")
    return io.BufferedReader(Bounded(unpack(path, "rb"), str(path), path.stat().st_size), _BLOCK)


class Bounded(io.RawIOBase):
    """A decompressed stream that ends with an error if it grows far beyond what data compress to: a decompression bomb.

    Args:
        stream: decompressed.
        name: of the file, for the message.
        packed: compressed bytes.
    """

    def __init__(self, stream: IO[bytes], name: str, packed: int) -> None:
        self._stream, self._name = stream, name
        self._left = max(MOST_RATIO * packed, LEAST_BOMB)
        self._whole = self._left

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; counts the bytes."""
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        self._left -= len(content)
        if self._left < 0:
            raise SourceError(
                f"{self._name} unpacks to more than {self._whole / 1e9:.3g} GB, {MOST_RATIO} times its size: it is damaged, or "
                "made to fill the disk. If it is not, unpack it and name the result."
            )
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def open_text(path: Path, encoding: FoundEncoding, *, lines: bool = False) -> io.TextIOWrapper:
    """The text of a file, with unchanged line ends; with ``lines`` as :func:`bounded_lines`."""
    if lines:
        return bounded_lines(open_bytes(path), str(path), encoding.name, newline="")
    return io.TextIOWrapper(open_bytes(path), encoding=encoding.name, errors="replace", newline="")


def _with_line_ends(blocks: Iterable[bytes], path: Path, encoding: str) -> Iterator[bytes]:
    """The same blocks; a SourceError if one line fills many of them."""
    length = LineLength(str(path), encoding)
    for block in blocks:
        length.feed(block)
        yield block


def encoding_of_file(path: Path, given: str = "", *, lines: bool = True) -> FoundEncoding:
    """The encoding of a file, from all of its bytes; a ``given`` encoding is only checked.

    Args:
        path: of the file.
        given: by the user.
        lines: whether the file is read line by line.

    Raises:
        SourceError: the file cannot be read, is not text, its encoding cannot be detected, or a line is too long to be read.
    """
    try:
        with open_bytes(path) as stream:
            blocks = iter(lambda: stream.read(_BLOCK), b"")
            return find_encoding(_with_line_ends(blocks, path, given) if lines else blocks, str(path), given)
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as error:
        raise SourceError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def find_encoding(blocks: Iterable[bytes], name: str, given: str = "") -> FoundEncoding:
    """The encoding of a text in blocks; ``name`` is for messages. See :func:`encoding_of_file`."""
    decoder = codecs.getincrementaldecoder(given or "utf-8")("strict")
    first, sample, valid, damaged = b"", b"", True, 0
    for number, block in enumerate(blocks):
        if not number:
            first = block[:4096]
            mark = next((encoding for mark, encoding in _MARKS if first.startswith(mark)), "")
            if mark and not given:
                return FoundEncoding(mark)
            if not given and (wide := _wide(first)):
                return FoundEncoding(wide)
        if len(sample) < _SAMPLE:
            sample += b" ".join(_around_high(block, _SAMPLE - len(sample)))
        try:
            decoder.decode(block)
        except UnicodeDecodeError:
            valid = False
            damaged += 1
            decoder.reset()
    if valid:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:  # the last letter is cut off
            valid, damaged = False, 1
    if given:
        return FoundEncoding(given, damaged=damaged)
    if b"\0" in first:
        raise SourceError(f"{name} is not text: it holds zero bytes. If it is text, name its encoding with --encoding.")
    if valid:
        return FoundEncoding("utf-8")
    return _guess(sample, name)


def decode_text(content: bytes, name: str, given: str = "") -> tuple[str, FoundEncoding]:
    """A whole text and its encoding, without a byte-order mark."""
    found = find_encoding([content], name, given)
    return content.decode(found.name, "replace").removeprefix("\ufeff"), found


def _wide(first: bytes) -> str:
    """``utf-16-le`` or ``utf-16-be`` if nearly every second byte is zero; else empty."""
    if len(first) < 8 or any(byte < 32 and byte not in b"\t\n\r\0" for byte in first):
        return ""
    even, odd = first[::2].count(0) / len(first[::2]), first[1::2].count(0) / len(first[1::2])
    if odd > 0.7 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 and odd < 0.1 else ""


def _around_high(block: bytes, most: int) -> Iterator[bytes]:
    """Stretches around bytes beyond ASCII, at most ``most`` bytes in total."""
    start = end = taken = 0
    if block.isascii():
        return
    for match in _HIGH.finditer(block):
        if match.start() - _AROUND > end:
            if end:
                yield block[start:end]
            taken += end - start
            start = max(match.start() - _AROUND, 0)
            if taken >= most:
                return
        end = match.end() + _AROUND
    if end:
        yield block[start : start + min(end - start, most)]


def _guess(sample: bytes, name: str) -> FoundEncoding:
    """The encoding of a text that is not entirely UTF-8."""
    multibyte = len(_MULTIBYTE.findall(sample))
    rest = _MULTIBYTE.sub(b"", sample)
    wrong = sum(len(run) for run in _HIGH.findall(rest))
    if multibyte >= _MOSTLY_UTF8 * (multibyte + wrong):
        return FoundEncoding("utf-8", damaged=max(wrong, 1))
    runs = _HIGH.findall(sample)
    total = sum(len(run) for run in runs)
    in_rows = sum(len(run) for run in runs if len(run) > 2)
    if in_rows > _IN_ROWS * total:
        raise SourceError(
            f"{name} is not UTF-8, and its letters are of no Western European script. Name its encoding with --encoding: "
            "gb18030 or big5 (Chinese), shift_jis (Japanese), euc_kr (Korean), cp1251 (Cyrillic), cp1253 (Greek), ..."
        )
    encoding = "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", sample) else "cp1252"
    text = sample.decode(encoding)
    words = re.findall(r"[^\s,;|\"']*[^\x00-\x7f][^\s,;|\"']*", text)
    return FoundEncoding(encoding, example=next(iter(sorted(words[:50], key=len, reverse=True)), "")[:24])


def shown_encoding(found: FoundEncoding) -> str:
    """``cp1252 (a guess, it reads 'café'; --encoding sets it)``."""
    return f"{found.name} (a guess, it reads {found.example!r}; --encoding sets it)" if found.example else found.name
