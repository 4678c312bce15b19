"""Open, scale and resize one image."""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from selfsup.data import check_media_file
from selfsup.errors import BadRowError
from selfsup_vision.decoding.pillow_files import (
    DECODING_MEMORY,
    MAX_PIXELS,
    Content,
    allow_pixels,
    check_pixels,
    decoded_bytes,
    is_wide,
    upright,
)
from selfsup_vision.decoding.raster import NUMPY_MAGIC, Array, Layout, Raster, array_of_npy, raster_of_array
from selfsup_vision.decoding.tiff import open_tiff_without_pillow
from selfsup_vision.decoding.value_range import ValueRange, scaled
from selfsup_vision.decoding.wide import wide_raster

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
_HEIF = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
"""The beginning of HEIF files (ISO/IEC 23008-12), after the size of their first box."""
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R 601, as in Pillow."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Opened = Image.Image | Raster
"""A PIL image with 8 bits a channel, not yet decoded; or an array."""


def _silent(text: str) -> None:
    """Ignore a remark."""


@dataclass(frozen=True)
class Reading:
    """How images are read."""

    channels: int | None = None
    """C of the result; None: 3."""
    given_channels: int | None = None
    """C if the user sets it: pages, and the opacity, then become channels if that gives C."""
    layout: Layout = "auto"
    """The axis of the channels of arrays."""
    value_range: ValueRange | None = None
    """Black and white of images with more than 8 bits and of floats, if the user sets it."""
    learned: Mapping[str, ValueRange] = field(default_factory=dict)
    """Black and white for each kind of numbers, learned from the rows that the processor was fitted on."""
    max_pixels: int = MAX_PIXELS
    """Larger images are bad rows."""
    remark: Callable[[str], None] = _silent
    """Called with remarks on usable images."""


@contextmanager
def opened(value: Any, reading: Reading = Reading(), size: int | None = None) -> Iterator[Opened]:
    """Open what a row holds; the pixels of a file with 8 bits are not decoded yet.

    Args:
        value: ``{"bytes": ..., "path": ...}`` (either may be None), an encoded file or an npy file, a path, a PIL image, or an
            array or tensor (:func:`raster_of_array`).
        reading: options.
        size: shorter side in pixels of what becomes of the image; a JPEG is decoded at no more than needed. None: as it is.

    Raises:
        BadRowError: there is nothing to read, or it is not an image.
    """
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None:
        raise BadRowError("there is no image (neither bytes nor a path)")
    if isinstance(value, (bytes, bytearray, memoryview)):
        if not len(value):
            raise BadRowError("the image is empty (0 bytes)")
        with _file(Content(bytes(value)), reading, size) as image:
            yield image
    elif isinstance(value, (str, Path)):
        with _file(Content(Path(check_media_file(value, "image"))), reading, size) as image:
            yield image
    elif isinstance(value, Image.Image):
        _reduce(value, size)
        yield _of_array(np.asarray(upright(value)), reading) if is_wide(value.mode) else value
    elif isinstance(value, np.ndarray):
        yield _of_array(value, reading)
    elif hasattr(value, "detach") and hasattr(value, "numpy"):  # a tensor
        yield _of_array(value.detach().cpu().numpy(), reading)
    else:
        raise BadRowError(
            f"a value of type {type(value).__name__} is no image: give encoded bytes, a path, a PIL image or an array"
        )


@contextmanager
def _file(content: Content, reading: Reading, size: int | None) -> Iterator[Opened]:
    """An encoded image or an npy file."""
    allow_pixels(reading.max_pixels)  # here, since a worker process may have begun with Pillow's own limit
    try:
        if content.head()[:6] == NUMPY_MAGIC:
            array = array_of_npy(content.read())
            image = None
        else:
            image = content.open()
    except UnidentifiedImageError:
        with _heif(content, reading.max_pixels) as heif:
            if heif is not None:
                yield heif
                return
        with open_tiff_without_pillow(content, reading.given_channels, reading.max_pixels) as raster:
            if raster is None:
                raise BadRowError(_unknown(content)) from None
            yield raster
        return
    except _READ_ERRORS as error:
        raise BadRowError(f"the image cannot be opened: {error}") from error
    if image is None:
        yield _of_array(array, reading)
        return
    with image:
        check_pixels(*image.size, reading.max_pixels)
        _reduce(image, size)
        with DECODING_MEMORY.hold(decoded_bytes(image)):
            try:
                raster = wide_raster(image, content, reading.given_channels, reading.max_pixels)
            except _READ_ERRORS as error:
                raise BadRowError(f"the image cannot be decoded: {error}") from error
            yield raster or image


def _reduce(image: Image.Image, size: int | None) -> None:
    """Let a JPEG be decoded at no more than is needed for its shorter side to become ``size``."""
    if size is None or image.format != "JPEG":
        return
    try:
        # Twice the wanted size: the DCT-domain reduction aliases a little, which the resize after it smooths out.
        image.draft(image.mode, (2 * size, 2 * size))
    except _READ_ERRORS as error:
        raise BadRowError(f"the image cannot be decoded: {error}") from error


@contextmanager
def _heif(content: Content, max_pixels: int) -> Iterator[Image.Image | None]:
    """A HEIC or HEIF image, if a library that reads them is installed; None for other files."""
    if content.head(12)[4:12] not in _HEIF:
        yield None
        return
    for library in ("pi_heif", "pillow_heif"):
        try:
            reader = importlib.import_module(library)
        except ImportError:
            continue
        try:
            file: Any = reader.open_heif(io.BytesIO(content.read()))
            width, height = file.size
        except Exception as error:  # libheif's errors are of many kinds
            raise BadRowError(f"the image cannot be decoded: {error}") from error
        check_pixels(width, height, max_pixels)
        with DECODING_MEMORY.hold(8 * width * height):  # the library's own copy too
            try:
                image: Image.Image = file.to_pillow()
            except Exception as error:
                raise BadRowError(f"the image cannot be decoded: {error}") from error
            yield image
        return
    raise BadRowError("Pillow reads no HEIC files: pip install 'selfsup-vision[heif]', or convert them to JPEG")


def _unknown(content: Content) -> str:
    """The message for a file that Pillow does not know."""
    head = content.head(12)
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "this Pillow reads no AVIF: update it to 11.3 or later, or convert the files"
    return "not an image file that Pillow can read"


def _of_array(array: Array, reading: Reading) -> Opened:
    raster = raster_of_array(array, reading.given_channels, reading.layout)
    if raster.values.dtype == np.bool_ and raster.channels in (1, 3):
        raster = Raster(raster.values.astype(np.uint8) * np.uint8(255))
    if raster.values.dtype == np.uint8 and raster.channels in (1, 3):
        pixels = raster.values[:, :, 0] if raster.values.shape[2] == 1 else raster.values
        return Image.fromarray(np.ascontiguousarray(pixels))
    return raster


def size_of(image: Opened) -> tuple[int, int]:
    """Width and height, as stored."""
    return image.size if isinstance(image, Image.Image) else (image.values.shape[1], image.values.shape[0])


def decode(value: Any, size: int, reading: Reading = Reading()) -> Pixels:
    """Decode, resize the shorter side to ``size`` (antialiased), and cut the centre: [C, size, size] uint8.

    Raises:
        BadRowError: the image cannot be read or decoded, or has other channels.
    """
    return _pixels(value, size, 1.0, reading).transpose(2, 0, 1).copy()


def decode_whole(value: Any, size: int, max_aspect: float, reading: Reading = Reading()) -> tuple[Pixels, bool]:
    """Decode and resize the shorter side to ``size`` (antialiased); beyond ``max_aspect`` to 1 the longer is cut.

    Returns:
        [L, C, size] with the longer side first, and whether that is the width: the image is then transposed.

    Raises:
        BadRowError: the image cannot be read or decoded, or has other channels.
    """
    pixels = _pixels(value, size, max_aspect, reading)
    lying = pixels.shape[1] > pixels.shape[0]
    return np.ascontiguousarray(pixels.transpose((1, 2, 0) if lying else (0, 2, 1))), lying


def _pixels(value: Any, size: int, max_aspect: float, reading: Reading) -> Pixels:
    """[H, W, C]: the central part of at most ``max_aspect`` to 1, its shorter side resized to ``size``."""
    channels = reading.channels or 3
    with opened(value, reading, size) as image:
        try:
            if isinstance(image, Image.Image):
                loaded = upright(image)
                if channels in (1, 3):
                    ready = _resized(to_rgb(loaded) if channels == 3 else to_grey(loaded), size, max_aspect)
                    pixels = np.asarray(ready, dtype=np.uint8)
                    return pixels if channels == 3 else pixels[:, :, None]
                image = _bands(loaded)
            colors, remark = scaled(image, reading.value_range, reading.learned)
        except _READ_ERRORS as error:
            raise BadRowError(f"the image cannot be decoded: {error}") from error
    if colors.shape[2] not in (channels, *((1, 3) if channels in (1, 3) else ())):
        raise BadRowError(f"the image has {colors.shape[2]} channels, and the processor takes {channels} (processor.channels)")
    if remark:
        reading.remark(remark)
    planes = [np.asarray(_resized(Image.fromarray(plane), size, max_aspect)) for plane in np.moveaxis(colors, 2, 0)]
    floats = np.stack(planes, axis=2)
    if channels == 1 and floats.shape[2] == 3:
        floats = (floats @ _LUMA)[:, :, None]
    rounded: Pixels = np.clip(floats + 0.5, 0, 255).astype(np.uint8)
    return np.repeat(rounded, 3, axis=2) if channels == 3 and rounded.shape[2] == 1 else rounded


def _resized(image: Image.Image, size: int, max_aspect: float) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    # In whole pixels: half a pixel off, one axis would be smoother than the other and give the rotation of an image away.
    box_w, box_h = min(width, int(side * max_aspect)), min(height, int(side * max_aspect))
    wanted = (max(round(box_w * size / side), size), max(round(box_h * size / side), size))
    if image.size == wanted:
        return image
    left, top = (width - box_w) // 2, (height - box_h) // 2
    return image.resize(wanted, Image.Resampling.BILINEAR, box=(left, top, left + box_w, top + box_h))


def is_transparent(image: Image.Image) -> bool:
    """Whether an image with 8 bits may have transparent pixels."""
    return image.mode in _ALPHA_MODES or "transparency" in image.info


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode with 8 bits to RGB, with transparency on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if is_transparent(image):
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")


def to_grey(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode with 8 bits to grey (ITU-R 601)."""
    return image if image.mode == "L" and not is_transparent(image) else to_rgb(image).convert("L")


def _bands(image: Image.Image) -> Raster:
    """The bands of an image with 8 bits, unchanged: CMYK, or colours and opacity."""
    if image.mode in ("P", "PA", "1", "RGBa", "La"):
        image = image.convert("RGBA" if is_transparent(image) else "RGB")
    pixels = np.asarray(image)
    return Raster(pixels if pixels.ndim == 3 else pixels[:, :, None])
