"""Files whose numbers have more than 8 bits, or that have channels beside red, green and blue: what Pillow would cut down."""

from __future__ import annotations

import io
import logging
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from selfsup.errors import BadRowError
from selfsup_vision.decoding.raster import Array, Raster

_BITS, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES, _PLANAR, _EXTRA = 258, 262, 270, 277, 284, 338
"""Tags of TIFF 6.0 (Adobe 1992)."""
_ORIENTATION = 0x0112
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OPACITY = (1, 2, 999)
"""Values of ExtraSamples that say opacity: associated, unassociated, and what old Photoshops write."""

# What these log of files that they cannot read is said of the bad row; without a handler it would go to standard error, too.
for _library in ("PIL", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins so is a TIFF or BigTIFF."""
    return head[:4] in _TIFF


def wide_raster(image: Any, content: Content, channels: int | None) -> Raster | None:
    """What an opened file holds, where Pillow's 8-bit modes cannot hold it; None where they can.

    Args:
        image: as Pillow opened it, not yet decoded.
        content: the file.
        channels: that the user asked for; a file of as many pages with one channel each has them as its channels.

    Raises:
        BadRowError: it cannot be decoded.
    """
    if image.format == "PNG" and _has_raw_mode(image, ";16"):
        return _png(content, image)
    if image.format == "PPM" and (maximum := _pnm_maximum(image)) > 255:
        return _pnm(content.read(), maximum)
    if image.format == "TIFF":
        return _tiff(image, content, channels)
    if _is_wide(image.mode):
        return Raster(_wide_pixels(image), pages=_pages(image))
    return None


class Content:
    """The bytes of an encoded image, read when they are needed."""

    def __init__(self, value: bytes | Path) -> None:
        self.value = value

    def open(self) -> Image.Image:
        """With Pillow, without decoding the pixels."""
        return Image.open(io.BytesIO(self.value) if isinstance(self.value, bytes) else self.value)

    def head(self, count: int = 8) -> bytes:
        """The first bytes."""
        if isinstance(self.value, bytes):
            return self.value[:count]
        with self.value.open("rb") as file:
            return file.read(count)

    def read(self) -> bytes:
        """All bytes."""
        return self.value if isinstance(self.value, bytes) else self.value.read_bytes()


def _is_wide(mode: str) -> bool:
    return mode in ("F", "I") or mode.startswith("I;16")


def _has_raw_mode(image: Any, part: str) -> bool:
    """Whether the numbers in the file are of a kind (``;16``) that the mode does not show."""
    return any(part in str(argument) for tile in image.tile for argument in tile[3:])


def _pages(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; a damaged EXIF block costs the orientation, not the image."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow's parser raises errors of many kinds
        return 1


def _turned(pixels: Array, orientation: int) -> Array:
    """[H, W, ...] as an orientation says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def upright(image: Image.Image) -> Image.Image:
    """An image as EXIF says that it is to be seen; a damaged EXIF block costs the orientation, not the image."""
    image.load()
    if image.format == "TIFF":  # Pillow turns it while it loads it, and some releases keep the mark
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's parser raises errors of many kinds
        return image


def _wide_pixels(image: Image.Image) -> Array:
    """[H, W, 1] of an image of one wide channel."""
    return _checked(np.asarray(upright(image))[:, :, None])


def _checked(pixels: Array) -> Array:
    """The same pixels.

    Raises:
        BadRowError: some are not finite.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise BadRowError("the image has pixels that are not finite (NaN or infinite)")
    return pixels


def _png(content: Content, image: Any) -> Raster:
    """A PNG of 16 bits: Pillow keeps the upper 8 of all but grey ones."""
    raw = str(image.tile[0][3])
    orientation = _orientation(image)
    if raw.startswith("I"):
        return Raster(_wide_pixels(image))
    if raw.startswith("LA"):  # four bytes a pixel, as RGBA of 8 bits
        halves = _decoded_as(content, "RGBA").astype(np.uint16)
        return Raster(_turned(halves[..., ::2] << 8 | halves[..., 1::2], orientation), alpha=True)
    pixels = _both_halves(content, raw.partition(";")[0], big=True)
    return Raster(_turned(pixels, orientation), alpha=pixels.shape[2] == 4)


def _both_halves(content: Content, mode: str, *, big: bool) -> Array:
    """[H, W, 3 or 4] uint16 of colours of 16 bits. Pillow keeps one half of each value, so the file is decoded once a half.

    Args:
        content: the file.
        mode: ``RGB`` or ``RGBA``.
        big: whether the upper half comes first in what is decoded.
    """
    upper, lower = ("B", "L") if big else ("L", "B")
    high, low = (_decoded_as(content, f"{mode};16{half}").astype(np.uint16) for half in (upper, lower))
    pixels: Array = high << 8 | low
    return pixels


def _decoded_as(content: Content, raw: str) -> Array:
    """A file decoded as if its numbers were laid out otherwise."""
    image: Any
    with content.open() as image:
        tiles: list[Any] = list(image.tile)
        for place, tile in enumerate(tiles):
            arguments = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
            tiles[place] = tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)
        image.tile = tiles
        image.load()
        pixels: Array = np.asarray(image)
        return pixels


def _pnm_maximum(image: Any) -> int:
    """Largest value of a PGM or PPM file, as its header says; 0 where Pillow does not tell."""
    if image.mode == "F":
        return 0
    arguments = image.tile[0][3] if image.tile else ()
    if isinstance(arguments, tuple) and len(arguments) > 1 and isinstance(arguments[1], int):
        return arguments[1]
    return 65535 if _has_raw_mode(image, "16") else 0


def _pnm(content: bytes, maximum: int) -> Raster:
    """PGM and PPM of more than 8 bits, as the numbers in the file: Pillow stretches grey ones to 16 bits, cuts colours to 8."""
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


def _tiff(image: Any, content: Content, channels: int | None) -> Raster | None:
    """A TIFF that Pillow can open."""
    tags = image.tag_v2
    samples, pages = int(tags.get(_SAMPLES, 1)), _pages(image)
    bits = max(_numbers(tags.get(_BITS, 1)))
    declared = (1 << bits) - 1 if 8 < bits < 16 else None
    if samples == 1 and _pages_are_channels(str(tags.get(_DESCRIPTION, "")), pages, channels):
        stack = [np.asarray(upright(page)) for page in ImageSequence.Iterator(image)]
        if len({page.shape for page in stack}) > 1 or stack[0].ndim != 2:
            raise BadRowError(f"its {pages} pages cannot be channels of one image: they are of several sizes or have colours")
        return Raster(_checked(np.stack(stack, axis=2)), declared=declared, pages=pages)
    raw = image.tile[0][3][0] if len(image.tile) and isinstance(image.tile[0][3], tuple) else ""
    swapped = image.tile[0][0] == "libtiff" and image.tag_v2.prefix == b"MM" and "B" in raw.partition(";")[2]
    if samples == 1 and image.mode in ("I", "F") and swapped:
        # libtiff gives numbers in the machine's order, and Pillow takes them for the file's.
        pixels = _decoded_as(content, raw.replace("B", "N"))[:, :, None]
        return Raster(_checked(pixels), declared=declared, pages=pages)
    if samples == 1:
        return Raster(_wide_pixels(image), declared=declared, pages=pages) if _is_wide(image.mode) else None
    colors = {5: 4}.get(int(tags.get(_PHOTOMETRIC, 1)), 3 if int(tags.get(_PHOTOMETRIC, 1)) in (2, 6, 8) else 1)
    extra = _numbers(tags.get(_EXTRA, ()))
    opaque = samples == colors or (samples == colors + 1 and (not extra or extra[0] in _OPACITY))
    if opaque and (bits <= 8 or colors == 4):  # inks are of print, which uses their whole range
        return None
    if opaque and raw.startswith(("RGB;16", "RGBA;16")) and int(tags.get(_PLANAR, 1)) == 1:
        big = sys.byteorder == "big" if image.tile[0][0] == "libtiff" else image.tag_v2.prefix == b"MM"
        pixels = _both_halves(content, raw.partition(";")[0], big=big)
        return Raster(pixels, alpha=samples == 4, declared=declared, pages=pages)
    return tiff_raster(content, channels)


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(item) for item in value) if isinstance(value, tuple | list) else (int(value),)


def _pages_are_channels(description: str, pages: int, channels: int | None) -> bool:
    """Whether pages of one channel each are the channels of one image: the user says so, or ImageJ's or OME's description."""
    if pages < 2:
        return False
    if channels is not None:
        return pages == channels
    told = re.search(r"^channels=(\d+)", description, re.MULTILINE) if description.startswith("ImageJ") else None
    told = told or (re.search(r'SizeC="(\d+)"', description) if "<OME" in description[:2000] else None)
    return told is not None and int(told[1]) == pages


def tiff_raster(content: Content, channels: int | None) -> Raster:
    """A TIFF that only tifffile can read: several channels of more than 8 bits, or more than three channels.

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
                pixels = np.stack([item.asarray() for item in file.pages], axis=2)
                return Raster(_checked(pixels), pages=pages)
            pixels, axes = page.asarray(), page.axes
            extra, orientation = tuple(page.extrasamples), page.tags.valueof(_ORIENTATION, default=1)
            rgb = int(page.photometric) in (2, 6)
            bits = int(page.bitspersample)
    except BadRowError:
        raise
    except Exception as error:  # a parser of files that anyone may have damaged: it raises errors of many kinds
        raise BadRowError(f"the TIFF file cannot be decoded: {str(error) or type(error).__name__}") from error
    if pixels.ndim != len(axes):
        raise BadRowError("the TIFF file cannot be decoded: it holds less than its header says")
    pixels = _channels_last(pixels, axes)
    alpha = bool(extra) and int(extra[0]) in _OPACITY and pixels.shape[2] == (4 if rgb else 2) and channels in (None, 1, 3)
    declared = (1 << bits) - 1 if 8 < bits < 16 else None
    return Raster(_turned(_checked(pixels), int(orientation)), alpha=alpha, declared=declared, pages=pages)


def _channels_last(pixels: Array, axes: str) -> Array:
    """A page as [H, W, C]; of axes beside height, width and samples (depth) the first place is taken."""
    for place in reversed(range(len(axes))):
        if axes[place] not in "YXS":
            pixels = pixels.take(0, axis=place)
    axes = "".join(axis for axis in axes if axis in "YXS")
    if "S" not in axes:
        return pixels[:, :, None]
    return np.moveaxis(pixels, axes.index("S"), 2)


def open_tiff_without_pillow(content: Content, channels: int | None) -> Raster | None:
    """What tifffile reads of a file that Pillow does not know; None where it is no TIFF."""
    return tiff_raster(content, channels) if is_tiff(content.head()) else None
