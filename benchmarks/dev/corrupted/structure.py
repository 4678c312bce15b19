"""Damage what is inside a container and close it again, so that checksums and brackets are right and the content is wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from corrupted.damage import WAYS, damaged

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**70, -(2**63), 1e308, float("nan"), float("inf"), "", "x", "1", "NaN", "../../x",
    "/dev/zero", "a\x1b[2Jb\nc", "x" * 5000, [], {}, [[]], [None], {"x": 1}, ["x"] * 1000, {"": None},
)  # fmt: skip
_DEPTH = 100_000
"""Brackets of an array that is nested too deeply for any parser that calls itself."""


def of_container(content: bytes, suffix: str, seed: int, others: tuple[bytes, ...]) -> bytes:
    """The content, damaged inside; as :func:`~corrupted.damage.damaged` does it where a kind has no inside.

    Args:
        content: of the whole file.
        suffix: the last part of its name.
        seed: of the damage.
        others: contents of other files.
    """
    inside = _INSIDES.get(suffix)
    return damaged(content, seed, others) if inside is None else inside(content, seed, others)


def _json(content: bytes, seed: int, _: tuple[bytes, ...]) -> bytes:
    draw = np.random.default_rng(seed)
    if seed % 64 == 63:
        return b"[" * _DEPTH + b"]" * _DEPTH
    return json.dumps(_changed(json.loads(content), draw)).encode()


def _lines(content: bytes, seed: int, others: tuple[bytes, ...]) -> bytes:
    lines = content.splitlines(keepends=True)
    place = int(np.random.default_rng(seed).integers(len(lines)))
    lines[place] = _json(lines[place], seed, others) + b"\n"
    return b"".join(lines)


def _changed(value: Any, draw: np.random.Generator) -> Any:
    """The value with one of its parts replaced, taken out, added or renamed."""
    places = list(_places(value))
    path = places[int(draw.integers(len(places)))]
    if not path:
        return _VALUES[int(draw.integers(len(_VALUES)))]
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    match int(draw.integers(5)):
        case 0:
            del holder[path[-1]]
        case 1 if isinstance(holder, dict):
            holder["unknown"] = holder[path[-1]]
        case 2 if isinstance(holder, dict):
            holder["renamed"] = holder.pop(path[-1])
        case 3 if isinstance(holder[path[-1]], int | float):
            holder[path[-1]] = holder[path[-1]] * int(draw.integers(2, 1_000_000))
        case _:
            holder[path[-1]] = _VALUES[int(draw.integers(len(_VALUES)))]
    return value


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:20]):
            yield from _places(item, (*path, index))


def _safetensors(content: bytes, seed: int, others: tuple[bytes, ...]) -> bytes:
    size = struct.unpack("<Q", content[:8])[0]
    header = _json(content[8 : 8 + size], seed, others)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def _zip(content: bytes, seed: int, others: tuple[bytes, ...]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        members = source.infolist()
        chosen = members[seed // 16 % len(members)]
        for member in members:
            inner = source.read(member)
            target.writestr(member, damaged(inner or b"\0", seed, others) if member is chosen else inner)
    return out.getvalue()


def _packed(unpack: Callable[[bytes], bytes], pack: Callable[[bytes], bytes]) -> Callable[..., bytes]:
    return lambda content, seed, others: pack(damaged(unpack(content), seed, others))


def _png(content: bytes, seed: int, others: tuple[bytes, ...]) -> bytes:
    """Damage one chunk, and give it the checksum of its new content."""
    chunks, place = [], 8
    while place < len(content):
        size = struct.unpack(">I", content[place : place + 4])[0]
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    chosen, parts = seed // 16 % len(chunks), [content[:8]]
    for number, (name, inner) in enumerate(chunks):
        if number == chosen:
            inner = damaged(inner or b"\0", seed, others)
        parts.append(struct.pack(">I", len(inner)) + name + inner + struct.pack(">I", zlib.crc32(name + inner)))
    return b"".join(parts)


def _tar(content: bytes, seed: int, others: tuple[bytes, ...]) -> bytes:
    """Damage the header of a member, and give it the checksum of its new content."""
    starts = [place for place in range(0, len(content), 512) if content[place + 257 : place + 262] == b"ustar"]
    place = starts[seed // 16 % len(starts)]
    header = bytearray(damaged(content[place : place + 512], seed, others)[:512].ljust(512, b"\0"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:place] + bytes(header) + content[place + 512 :]


_INSIDES: dict[str, Callable[[bytes, int, tuple[bytes, ...]], bytes]] = {
    "json": _json,
    "jsonl": _lines,
    "safetensors": _safetensors,
    "zip": _zip,
    "npz": _zip,
    "xlsx": _zip,
    "pt": _zip,
    "gz": _packed(gzip.decompress, lambda inner: gzip.compress(inner, mtime=0)),
    "bz2": _packed(bz2.decompress, bz2.compress),
    "xz": _packed(lzma.decompress, lzma.compress),
    "png": _png,
    "tar": _tar,
}


def damaged_file(content: bytes, suffix: str, seed: int, others: tuple[bytes, ...]) -> bytes:
    """The content of a file, damaged from outside or, in every second round of seeds, inside."""
    if seed >= 0 and seed // len(WAYS) % 2:
        return of_container(content, suffix, seed, others)
    return damaged(content, seed, others)
