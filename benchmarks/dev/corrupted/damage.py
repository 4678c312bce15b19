"""Damage a file in one of many ways, always the same for the same seed."""

from __future__ import annotations

import numpy as np

WAYS = (
    "cut off",
    "bytes changed",
    "a run of zeros",
    "header changed",
    "extreme number in the header",
    "a part taken out",
    "a part repeated",
    "bits flipped",
    "a run overwritten by noise",
    "a part of another file",
    "content of another kind",
    "bytes inserted",
    "extreme number anywhere",
    "end overwritten",
    "one bit flipped",
    "text changed",
)
"""The ways, in the order in which consecutive seeds take them."""
WHOLE = -1
_EXTREMES = (
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
    b"\0\0\0\0\0\0\0\x10",
)
_TEXTS = (
    b"NaN",
    b"-1",
    b"1e999",
    b"null",
    b"[" * 5000,
    b'"',
    b"{}",
    b"9" * 400,
    b"\x1b[2J",
    b"\xff\xfe",
    b"\0",
    b"\n",
    b"../../x",
    b"true",
    b"[]",
)
"""What stands in the place of a number or a word in texts."""


def damaged(content: bytes, seed: int, others: tuple[bytes, ...] = (b"\0",)) -> bytes:
    """The content, damaged in the way ``WAYS[seed % len(WAYS)]``.

    Args:
        content: of the whole file, not empty.
        seed: of the damage; :data:`WHOLE` damages nothing.
        others: contents of other files, from which parts are taken.
    """
    if seed == WHOLE:
        return content
    draw, data = np.random.default_rng(seed), bytearray(content)
    n = len(data)
    first, last = sorted(draw.integers(0, n, 2).tolist())
    head = int(draw.integers(max(min(n - 4, 300), 1)))
    length = int(draw.integers(1, max(n // 4, 2)))
    extreme = _EXTREMES[int(draw.integers(len(_EXTREMES)))]
    other = others[int(draw.integers(len(others)))]
    match WAYS[seed % len(WAYS)]:
        case "cut off":
            del data[first:]
        case "bytes changed":
            for place in draw.integers(0, n, 8):
                data[place] = draw.integers(256)
        case "a run of zeros":
            data[first : first + length] = bytes(len(data[first : first + length]))
        case "header changed":
            for place in draw.integers(0, min(n, 200), 4):
                data[place] = draw.integers(256)
        case "extreme number in the header":
            data[head : head + len(extreme)] = extreme
        case "a part taken out":
            del data[first:last]
        case "a part repeated":
            data[first:first] = data[first:last]
        case "bits flipped":
            for place in draw.integers(0, n, max(n // 100, 1)):
                data[place] ^= 1 << int(draw.integers(8))
        case "a run overwritten by noise":
            data[first : first + length] = draw.bytes(len(data[first : first + length]))
        case "a part of another file":
            data[first : first + length] = other[: length * 2]
        case "content of another kind":
            data[:] = other
        case "bytes inserted":
            data[first:first] = draw.bytes(length % 64 + 1)
        case "extreme number anywhere":
            data[first : first + len(extreme)] = extreme
        case "end overwritten":
            data[-(length % 64 + 1) :] = draw.bytes(length % 64 + 1)
        case "one bit flipped":
            data[first] ^= 1 << int(draw.integers(8))
        case _:
            text = _TEXTS[int(draw.integers(len(_TEXTS)))]
            stop = first + int(draw.integers(0, 6))
            data[first:stop] = text
    return bytes(data)
