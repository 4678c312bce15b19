"""TIFF files with more than 8 bits a channel, with more than three channels, or with channels as pages."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from PIL import ImageSequence

from selfsup.errors import BadRowError
from selfsup_vision.decoding.pillow_files import (
    DECODING_MEMORY,
    ORIENTATION,
    Content,
    both_halves,
    checked,
    decoded_as,
    is_wide,
    page_count,
    turned,
    upright,
    wide_pixels,
)
from selfsup_vision.decoding.raster import Array, Raster

_BITS, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES, _PLANAR, _EXTRA = 258, 262, 270, 277, 284, 338
"""Tags of TIFF 6.0 (Adobe 1992)."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF and BigTIFF files begin."""
_OPACITY = (1, 2, 999)
"""Values of ExtraSamples that mean opacity: associated, unassociated, and what old Photoshops write."""


def tiff(image: Any, content: Content, channels: int | None, max_pixels: int) -> Raster | None:
    """A TIFF that Pillow can open."""
    tags = image.tag_v2
    samples, pages = int(tags.get(_SAMPLES, 1)), page_count(image)
    bits = max(_numbers(tags.get(_BITS, 1)))
    declared = (1 << bits) - 1 if 8 < bits < 16 else None
    if samples == 1 and _pages_are_channels(str(tags.get(_DESCRIPTION, "")), pages, channels):
        _check_numbers(pages * image.size[0] * image.size[1], max_pixels)
        stack = [np.asarray(upright(page)) for page in ImageSequence.Iterator(image)]
        if len({page.shape for page in stack}) > 1 or stack[0].ndim != 2:
            raise BadRowError(f"its {pages} pages cannot be channels of one image: they are of several sizes or have colours")
        return Raster(checked(np.stack(stack, axis=2)), declared=declared, pages=pages)
    raw = image.tile[0][3][0] if len(image.tile) and isinstance(image.tile[0][3], tuple) else ""
    swapped = image.tile[0][0] == "libtiff" and image.tag_v2.prefix == b"MM" and "B" in raw.partition(";")[2]
    if samples == 1 and image.mode in ("I", "F") and swapped:
        # libtiff gives numbers in the machine's byte order, and Pillow assumes the file's.
        pixels = decoded_as(content, raw.replace("B", "N"))[:, :, None]
        return Raster(checked(pixels), declared=declared, pages=pages)
    if samples == 1:
        return Raster(wide_pixels(image), declared=declared, pages=pages) if is_wide(image.mode) else None
    colors = {5: 4}.get(int(tags.get(_PHOTOMETRIC, 1)), 3 if int(tags.get(_PHOTOMETRIC, 1)) in (2, 6, 8) else 1)
    extra = _numbers(tags.get(_EXTRA, ()))
    opaque = samples == colors or (samples == colors + 1 and (not extra or extra[0] in _OPACITY))
    if opaque and (bits <= 8 or colors == 4):  # inks use their whole range
        return None
    if opaque and raw.startswith(("RGB;16", "RGBA;16")) and int(tags.get(_PLANAR, 1)) == 1:
        big = sys.byteorder == "big" if image.tile[0][0] == "libtiff" else image.tag_v2.prefix == b"MM"
        pixels = both_halves(content, raw.partition(";")[0], big=big)
        return Raster(pixels, alpha=samples == 4, declared=declared, pages=pages)
    with ExitStack() as memory:
        return tiff_raster(content, channels, max_pixels, memory)


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(item) for item in value) if isinstance(value, tuple | list) else (int(value),)


def _pages_are_channels(description: str, pages: int, channels: int | None) -> bool:
    """Whether pages with one channel each are channels of one image, by the user's setting or ImageJ's or OME's description."""
    if pages < 2:
        return False
    if channels is not None:
        return pages == channels
    found = re.search(r"^channels=(\d+)", description, re.MULTILINE) if description.startswith("ImageJ") else None
    found = found or (re.search(r'SizeC="(\d+)"', description) if "<OME" in description[:2000] else None)
    return found is not None and int(found[1]) == pages


def tiff_raster(content: Content, channels: int | None, max_pixels: int, memory: ExitStack) -> Raster:
    """A TIFF that only tifffile can read: several channels of more than 8 bits, or more than three channels.

    ``memory`` holds the bytes of its pixels (:data:`DECODING_MEMORY`) until the caller closes it.

    Raises:
        BadRowError: tifffile is not installed, or cannot read it.
    """
    try:
        import tifffile
    except ImportError:
        raise BadRowError(
            "Pillow cannot read this TIFF file whole (more than three channels, or several channels of more than 8 bits): "
            "pip install 'selfsup-vision[tiff]'"
        ) from None
    source = io.BytesIO(content.value) if isinstance(content.value, bytes) else content.value
    try:
        with tifffile.TiffFile(source) as file:
            pages, page = len(file.pages), file.pages.first
            if page.samplesperpixel == 1 and _pages_are_channels(page.description, pages, channels):
                _check_numbers(count := pages * math.prod(page.shape), max_pixels)
                memory.enter_context(DECODING_MEMORY.hold(count * _itemsize(page)))
                pixels = np.stack([item.asarray() for item in file.pages], axis=2)
                return Raster(checked(pixels), pages=pages)
            _check_numbers(count := math.prod(page.shape), max_pixels)
            memory.enter_context(DECODING_MEMORY.hold(count * _itemsize(page)))
            pixels, axes = page.asarray(), page.axes
            extra, orientation = tuple(page.extrasamples), page.tags.valueof(ORIENTATION, default=1)
            rgb = int(page.photometric) in (2, 6)
            bits = int(page.bitspersample)
    except BadRowError:
        raise
    except Exception as error:  # on damaged files its parser raises errors of many kinds
        raise BadRowError(f"the TIFF file cannot be decoded: {str(error) or type(error).__name__}") from error
    if pixels.ndim != len(axes):
        raise BadRowError("the TIFF file cannot be decoded: it is shorter than its header says")
    pixels = _channels_last(pixels, axes)
    alpha = bool(extra) and int(extra[0]) in _OPACITY and pixels.shape[2] == (4 if rgb else 2) and channels in (None, 1, 3)
    declared = (1 << bits) - 1 if 8 < bits < 16 else None
    return Raster(turned(checked(pixels), int(orientation)), alpha=alpha, declared=declared, pages=pages)


def _itemsize(page: Any) -> int:
    """Bytes of a number of a page; 8 if its type is unknown."""
    return 8 if page.dtype is None else int(page.dtype.itemsize)


def _check_numbers(count: int, max_pixels: int) -> None:
    """Refuse a size in a header that would fill the memory: three channels of the largest image."""
    if count > 3 * max_pixels:
        raise BadRowError(f"the header states {count:,} numbers, more than three times {max_pixels:,} (processor.max_pixels)")


def _channels_last(pixels: Array, axes: str) -> Array:
    """A page as [H, W, C], with the first entry of other axes (depth)."""
    for place in reversed(range(len(axes))):
        if axes[place] not in "YXS":
            pixels = pixels.take(0, axis=place)
    axes = "".join(axis for axis in axes if axis in "YXS")
    if "S" not in axes:
        return pixels[:, :, None]
    return np.moveaxis(pixels, axes.index("S"), 2)


@contextmanager
def open_tiff_without_pillow(content: Content, channels: int | None, max_pixels: int) -> Iterator[Raster | None]:
    """A TIFF file that Pillow does not know, read by tifffile; None for other files."""
    with ExitStack() as memory:
        yield tiff_raster(content, channels, max_pixels, memory) if content.head()[:4] in _TIFF else None
