"""From what a row holds to an RGB image: every file, mode and array that people keep images in, and a reason where it fails."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from selfsup.errors import BadRowError

_READ_ERRORS = (
    OSError,
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

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


def open_image(value: Any) -> Image.Image:
    """Open what a row holds, without decoding the pixels of a file yet.

    Args:
        value: ``{"bytes": ..., "path": ...}`` (either may be None), encoded bytes, a path, a PIL image, or an array
            [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16, bool, or float in 0..1.

    Raises:
        BadRowError: there is nothing to read, or it is no image.
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray):
        return _from_array(value)
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None:
        raise BadRowError("there is no image (neither bytes nor a path)")
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            if not len(value):
                raise BadRowError("the image is empty (0 bytes)")
            return Image.open(io.BytesIO(value))
        if isinstance(value, (str, Path)):
            return Image.open(Path(value))
    except UnidentifiedImageError:
        raise BadRowError("not an image file that Pillow can read") from None
    except _READ_ERRORS as error:
        raise BadRowError(f"the image cannot be opened: {error}") from error
    raise BadRowError(
        f"a value of type {type(value).__name__} is no image: give encoded bytes, a path, a PIL image or an array"
    )


def decode(value: Any, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode to RGB, resize the shorter side to ``size`` (antialiased), and cut the centre: [3, size, size].

    Raises:
        BadRowError: the image cannot be read or decoded; the message says why.
    """
    return _pixels(value, size, 1.0).transpose(2, 0, 1).copy()


def decode_whole(value: Any, size: int, max_aspect: float) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], bool]:
    """Decode to RGB and resize the shorter side to ``size`` (antialiased); beyond ``max_aspect`` to 1 the longer is cut.

    Returns:
        [L, 3, size] with the longer side first, and whether that is the width: rows and columns are then exchanged.

    Raises:
        BadRowError: the image cannot be read or decoded; the message says why.
    """
    pixels = _pixels(value, size, max_aspect)
    lying = pixels.shape[1] > pixels.shape[0]
    return np.ascontiguousarray(pixels.transpose((1, 2, 0) if lying else (0, 2, 1))), lying


def _pixels(value: Any, size: int, max_aspect: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[H, W, 3]: the central part of at most ``max_aspect`` to 1, its shorter side resized to ``size``."""
    image = open_image(value)
    try:
        if image.format == "JPEG":
            # Twice the size wanted: the DCT-domain reduction aliases a little, and the resize after it smooths that out.
            image.draft(image.mode, (2 * size, 2 * size))
        image.load()
        image = to_rgb(_upright(image))
        width, height = image.size
        side = min(width, height)
        # In whole pixels: half a pixel off, one axis would be smoother than the other, and tell how an image was turned.
        box_w, box_h = min(width, int(side * max_aspect)), min(height, int(side * max_aspect))
        wanted = (max(round(box_w * size / side), size), max(round(box_h * size / side), size))
        if image.size != wanted:
            left, top = (width - box_w) // 2, (height - box_h) // 2
            image = image.resize(wanted, Image.Resampling.BILINEAR, box=(left, top, left + box_w, top + box_h))
    except _READ_ERRORS as error:
        raise BadRowError(f"the image cannot be decoded: {error}") from error
    return np.asarray(image, dtype=np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB: 16 bits scaled to 8, transparency laid on white, palettes looked up."""
    if image.mode == "RGB":
        return image
    if image.mode in {"F", "I"} or image.mode.startswith("I;16"):
        return _wide_to_grey(np.asarray(image)).convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Turn as EXIF says; a damaged EXIF block costs the orientation, not the image."""
    try:
        return ImageOps.exif_transpose(image)
    except _READ_ERRORS:
        return image


def _wide_to_grey(pixels: np.ndarray[Any, Any]) -> Image.Image:
    """[H, W] of 16 or 32 bits or float to 8 bits; the range is told by the largest value (1, 255 or 65535)."""
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite")
    top = float(values.max(initial=0.0))
    if np.issubdtype(pixels.dtype, np.floating) and top <= 1.0:
        values = values * 255.0
    elif top > 255.0:
        values = values / 257.0
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    """An array as a PIL image; shapes and types as in :func:`open_image`."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        raise BadRowError(f"an array of shape {array.shape} is no image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] is wanted")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise BadRowError("the array has values that are not finite")
        if array.min() < 0 or array.max() > 1:
            raise BadRowError(f"a float image must lie in 0..1; this one spans {array.min():g}..{array.max():g}")
        array = (array * 255.0 + 0.5).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise BadRowError(f"an array of type {array.dtype} is no image: uint8, uint16, bool, or float in 0..1 is wanted")
    return Image.fromarray(np.ascontiguousarray(array))
