"""Decode videos given as single frames: folders of image files, arrays, lists of images."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from selfsup.data import check_media_file
from selfsup.errors import BadRowError
from selfsup_video.plugin import FRAME_SUFFIXES

_READ_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's file plugins raise on damaged files (most are ``OSError``, but not all)."""


def frame_paths(folder: Path) -> list[Any]:
    """The frames of a folder in the order of their names, with numbers compared as numbers (2 before 10).

    Raises:
        BadRowError: it cannot be listed, or holds no frames.
    """
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in FRAME_SUFFIXES and not file.name.startswith(".")]
    except OSError as error:
        raise BadRowError(f"the folder of frames cannot be listed: {error.strerror or error}") from error
    if not files:
        raise BadRowError(f"the folder holds no frames ({', '.join(FRAME_SUFFIXES)})")
    return sorted(files, key=lambda file: _natural(file.name))


def from_array(array: np.ndarray[Any, Any]) -> list[Any]:
    """The frames of an array [T, H, W] or [T, H, W, 1 or 3], uint8, or float in 0..1.

    Raises:
        BadRowError: another shape or type, or float values that are not in 0..1.
    """
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)) or not array.size:
        raise BadRowError(f"an array of shape {array.shape} is no video; give [T, H, W] or [T, H, W, 3]")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise BadRowError("the array has values that are not finite")
        if array.min() < 0 or array.max() > 1:
            raise BadRowError(f"a float video must be in 0..1; this one spans {array.min():g}..{array.max():g}")
    elif array.dtype != np.uint8:
        raise BadRowError(f"an array of type {array.dtype} is no video; give uint8, or float in 0..1")
    return list(array)


def decode_frames(
    frames: list[Any], size: int, choose: Callable[[int], np.ndarray[Any, np.dtype[np.int64]]]
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The wanted frames of a list, [n, 3, size, size]; see :func:`selfsup_video.decoding.decode`.

    Raises:
        BadRowError: one of them cannot be read.
    """
    wanted = choose(len(frames))
    video = np.empty((len(wanted), 3, size, size), dtype=np.uint8)
    for place, index in enumerate(wanted):
        if place and index == wanted[place - 1]:
            video[place] = video[place - 1]
            continue
        try:
            with open_frame(frames[index]) as image:
                if image.format == "JPEG":
                    # Twice the wanted size: this reduction aliases a little, which the resize after it smooths out.
                    image.draft("RGB", (2 * size, 2 * size))
                video[place] = square(image.convert("RGB"), size)
        except (*_READ_ERRORS, BadRowError) as error:
            raise BadRowError(f"frame {index} cannot be read: {error}") from error
    return video


def frames_shorter_side(frames: list[Any]) -> int:
    """The shorter side of the first frame.

    Raises:
        BadRowError: it cannot be read.
    """
    try:
        with open_frame(frames[0]) as image:
            return int(min(image.size))
    except (*_READ_ERRORS, BadRowError) as error:
        raise BadRowError(f"frame 0 cannot be read: {error}") from error


def open_frame(value: Any) -> Image.Image:
    """One frame: a PIL image, an array [H, W], [H, W, 1] or [H, W, 3], encoded bytes, or a path.

    Raises:
        BadRowError: it has more than 8 bits a channel, so that black and white are unknown.
    """
    if isinstance(value, Image.Image):
        return _of_8_bits(value)
    if isinstance(value, np.ndarray):
        if np.issubdtype(value.dtype, np.floating):
            value = (value * 255.0 + 0.5).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(value[..., 0] if value.shape[2:] == (1,) else value))
    image = Image.open(io.BytesIO(value) if isinstance(value, bytes | bytearray) else check_media_file(value, "frame"))
    try:
        return _of_8_bits(image)
    except BadRowError:
        image.close()
        raise


def _of_8_bits(image: Image.Image) -> Image.Image:
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        raise BadRowError(
            f"a frame has more than 8 bits a channel (Pillow's mode {image.mode}), so its black and white are "
            "unknown: convert all frames to 8 bits by one scale"
        )
    return image


def square(image: Image.Image, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An RGB image with its shorter side at ``size`` (antialiased), the centre cut out: [3, size, size]."""
    width, height = image.size
    side = min(width, height)
    if (width, height) != (size, size):
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)


def _natural(name: str) -> list[Any]:
    """A key by which ``frame2`` comes before ``frame10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
