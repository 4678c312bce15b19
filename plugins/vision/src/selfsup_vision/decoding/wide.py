"""Read PNG, PGM and PPM files with more than 8 bits a channel, which Pillow would cut to 8 bits."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from selfsup.errors import BadRowError
from selfsup_vision.decoding.pillow_files import (
    ORIENTATION,
    Content,
    both_halves,
    decoded_as,
    has_raw_mode,
    is_wide,
    page_count,
    turned,
    wide_pixels,
)
from selfsup_vision.decoding.raster import Raster
from selfsup_vision.decoding.tiff import tiff


def wide_raster(image: Any, content: Content, channels: int | None, max_pixels: int) -> Raster | None:
    """The content of an opened file that Pillow's 8-bit modes cannot hold; None for other files.

    Args:
        image: as Pillow opened it, not yet decoded.
        content: the file.
        channels: set by the user; pages with one channel each are the channels of a file with this number of pages.
        max_pixels: of all pages and channels that are decoded together.

    Raises:
        BadRowError: it cannot be decoded.
    """
    if image.format == "PNG" and has_raw_mode(image, ";16"):
        return _png(content, image)
    if image.format == "PPM" and (maximum := _pnm_maximum(image)) > 255:
        return _pnm(content.read(), maximum)
    if image.format == "TIFF":
        return tiff(image, content, channels, max_pixels)
    if is_wide(image.mode):
        return Raster(wide_pixels(image), pages=page_count(image))
    return None


def _orientation(image: Any) -> int:
    """The EXIF orientation, 1 to 8; 1 if the EXIF block is damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's parser raises errors of many kinds
        return 1


def _png(content: Content, image: Any) -> Raster:
    """A PNG with 16 bits; Pillow keeps the upper 8 of colours."""
    raw = str(image.tile[0][3])
    orientation = _orientation(image)
    if raw.startswith("I"):
        return Raster(wide_pixels(image))
    if raw.startswith("LA"):  # four bytes a pixel, as RGBA of 8 bits
        halves = decoded_as(content, "RGBA").astype(np.uint16)
        return Raster(turned(halves[..., ::2] << 8 | halves[..., 1::2], orientation), alpha=True)
    pixels = both_halves(content, raw.partition(";")[0], big=True)
    return Raster(turned(pixels, orientation), alpha=pixels.shape[2] == 4)


def _pnm_maximum(image: Any) -> int:
    """Largest value of a PGM or PPM file from its header; 0 if unknown."""
    if image.mode == "F":
        return 0
    arguments = image.tile[0][3] if image.tile else ()
    if isinstance(arguments, tuple) and len(arguments) > 1 and isinstance(arguments[1], int):
        return arguments[1]
    return 65535 if has_raw_mode(image, "16") else 0


def _pnm(content: bytes, maximum: int) -> Raster:
    """A PGM or PPM with more than 8 bits, unscaled; Pillow stretches grey to 16 bits and cuts colours to 8."""
    tokens, end = [], 0
    for match in re.finditer(rb"(?:\s|#[^\n]*\n)*([^\s#]+)", content):
        tokens.append(match[1])
        end = match.end()
        if len(tokens) == 4:
            break
    kind, width, height = tokens[0], int(tokens[1]), int(tokens[2])
    n = 3 if kind in (b"P3", b"P6") else 1
    if kind in (b"P2", b"P3"):
        lines = re.sub(rb"#[^\n]*", b"", content[end:])
        pixels = np.array(lines.split()[: width * height * n], dtype=np.uint16)
    else:
        body = content[end + 1 : end + 1 + 2 * width * height * n]
        pixels = np.frombuffer(body[: len(body) // 2 * 2], dtype=">u2").astype(np.uint16)
    if len(pixels) < width * height * n:
        raise BadRowError("the image cannot be decoded: the file is truncated")
    declared = None if maximum == 65535 else maximum
    return Raster(pixels.reshape(height, width, n), declared=declared)
