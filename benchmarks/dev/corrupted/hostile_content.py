"""Make files that do harm: decompression bombs, sizes that no memory holds, members that are no files, code in pickles."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from corrupted.media_files import film, picture, sound

MARK = "executed-by-a-hostile-file"
"""Name of the file that exists if code in an input was run."""


def png(width: int, height: int, rows: int = 0, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header states a size; only ``rows`` rows of zeros follow."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    line = 1 + width * depth // 8 * {0: 1, 2: 3, 6: 4}[colour]
    body = zlib.compressobj(9)
    content = b"".join([*(body.compress(bytes(line)) for _ in range(rows)), body.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def wav_of_hours(hours: float, rate: int = 16000) -> bytes:
    """A WAV file whose header states a length; a second follows."""
    content = bytearray(sound("WAV", "PCM_16"))
    size = min(int(hours * 3600 * rate * 4), 0xFFFFFFFF)
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", min(size + 36, 0xFFFFFFFF))
    content[24:28] = struct.pack("<I", rate)
    return bytes(content)


def mp3_of_hours() -> bytes:
    """An MP3 file whose Xing header states 2^31 frames."""
    content = bytearray(sound("MP3", "MPEG_LAYER_III"))
    for mark in (b"Xing", b"Info"):
        place = content.find(mark)
        if place >= 0:
            content[place + 4 : place + 16] = struct.pack(">III", 7, 0x7FFFFFFF, 0x7FFFFFFF)
    return bytes(content)


def mp4_of_size(side: int) -> bytes:
    """An MP4 file whose headers state frames of this size."""
    content = bytearray(film("mp4", "mpeg4"))
    place = content.index(b"tkhd")
    content[place + 80 : place + 88] = struct.pack(">II", side << 16 & 0xFFFFFFFF, side << 16 & 0xFFFFFFFF)
    place = content.index(b"mp4v")
    content[place + 28 : place + 32] = struct.pack(">HH", side & 0xFFFF, side & 0xFFFF)
    return bytes(content)


def tar_of(*members: tuple[tarfile.TarInfo, bytes], real: bool = True) -> bytes:
    """An archive with these members, after a sample that is whole if ``real``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        whole = [(member_info(f"{n:03}.png"), picture("PNG")) for n in range(3)] if real else []
        for info, content in (*whole, *members):
            info.size = info.size or len(content)
            tar.addfile(info, io.BytesIO(content) if info.isreg() and info.size == len(content) else None)
    return out.getvalue()


def member_info(name: str, **fields: Any) -> tarfile.TarInfo:
    """The header of a member with these fields."""
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_claiming(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """An archive whose last member states a size."""
    info = member_info("zzz.png", size=size, type=kind)
    begun = tar_of().rstrip(b"\0")
    return begun + bytes(-len(begun) % 512) + info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)


def parquet_claiming(values: int) -> bytes:
    """A Parquet file of one row whose footer states this many values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"length": [1.5, 2.5] * 21 + [0.0]}), out, use_dictionary=False, write_statistics=False)
    content, count = out.getvalue(), bytes([0x16, 43 << 1])  # thrift: an i64 field, zigzag
    assert content.count(count) >= 2
    varint, number = b"", values << 1
    while number:
        varint += bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
        number >>= 7
    length = struct.unpack("<I", content[-8:-4])[0]
    footer = content[-8 - length : -8].replace(count, b"\x16" + varint)
    return content[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


class Executed:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def npy_of_objects() -> bytes:
    """An array of objects, whose pickle makes a file when it is loaded."""
    out = io.BytesIO()
    np.save(out, np.array([Executed(os.path.abspath(MARK))], dtype=object), allow_pickle=True)  # noqa: PTH100
    return out.getvalue()


def npy_claiming(shape: str) -> bytes:
    """An npy file whose header states a shape; 8 numbers follow."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


def zip_of_zeros(name: str, size: int) -> bytes:
    """An archive of one file of zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open(name, "w") as member:
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    return out.getvalue()


def gzip_of(block: bytes, times: int) -> bytes:
    """Blocks one after the other, each packed by itself, which is one stream."""
    return gzip.compress(block, mtime=0) * times


def packed_tar_claiming() -> bytes:
    """A packed archive of one member of 1.3 GB of zeros."""
    return gzip_of(member_info("0.png", size=1280 << 20).tobuf(), 1) + gzip_of(bytes(1 << 20), 1280)


def table_of(rows: int = 24, **columns: Callable[[int], str]) -> bytes:
    """A csv file, with a function from the row to the cell for each column."""
    lines = [",".join(columns), *(",".join(value(row) for value in columns.values()) for row in range(rows))]
    return ("\n".join(lines) + "\n").encode()
