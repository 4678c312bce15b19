"""The bytes of an image file, and what Pillow gives of files with more than 8 bits a channel."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from selfsup.errors import BadRowError
from selfsup_vision.decoding.raster import Array

ORIENTATION = 0x0112
MAX_PIXELS = 178_956_970
"""Pixels of the largest image unless the user sets more: where Pillow refuses one as a decompression bomb."""


class DecodingMemory:
    """Bytes of decoded images that the threads of a process hold at the same time.

    A thread waits until its image fits beside those of the others. An image of more than the limit waits until it is the only
    one. A thread that holds an image already never waits for its next one, since it may be what the others wait for.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.forget()

    def forget(self) -> None:
        """Begin anew: a forked process has none of the threads that held something."""
        self.used = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._own = threading.local()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Hold ``count`` bytes within the block."""
        depth = getattr(self._own, "depth", 0)
        with (
            nullcontext() if depth else self._turn,
            self._changed,
        ):  # in turn: small images must not overtake a large one for ever
            if not depth:
                self._changed.wait_for(lambda: self.used == 0 or self.used + count <= self.limit)
            self.used += count
        self._own.depth = depth + 1
        try:
            yield
        finally:
            self._own.depth = depth
            with self._changed:
                self.used -= count
                self._changed.notify_all()


DECODING_MEMORY = DecodingMemory(1 << 30)
"""1 GiB: about 20 photos of 12 megapixels, whatever the number of threads."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DECODING_MEMORY.forget)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image of this size.

    Raises:
        BadRowError: it has more than ``max_pixels``.
    """
    if width * height > max_pixels:
        raise BadRowError(f"the header states {width} x {height} pixels, more than {max_pixels:,} (processor.max_pixels)")


def decoded_bytes(image: Image.Image) -> int:
    """Bytes of the pixels of an image once it is decoded; Pillow takes four for one of colours, and two of the wide ones."""
    each = 2 if image.mode.startswith("I;16") else 1 if image.mode in ("1", "L", "P") else 4
    return image.size[0] * image.size[1] * each


def allow_pixels(max_pixels: int) -> None:
    """Let Pillow open images of this size, if it is more than Pillow's own limit; that holds for the whole process."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)


# What these log about files that they cannot read is in the message of the bad row; without a handler it would also go to
# standard error.
for _library in ("PIL", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


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


def is_wide(mode: str) -> bool:
    """Whether a Pillow mode has one channel of more than 8 bits."""
    return mode in ("F", "I") or mode.startswith("I;16")


def has_raw_mode(image: Any, part: str) -> bool:
    """Whether the file has a raw mode (``;16``) that Pillow's mode does not show."""
    return any(part in str(argument) for tile in image.tile for argument in tile[3:])


def page_count(image: Image.Image) -> int:
    """Pages or frames of a file."""
    return int(getattr(image, "n_frames", 1))


def turned(pixels: Array, orientation: int) -> Array:
    """[H, W, ...] turned by an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def upright(image: Image.Image) -> Image.Image:
    """The image, decoded and turned as EXIF says; a damaged EXIF block leaves it as it is."""
    image.load()
    if image.format == "TIFF":  # Pillow turns it when it loads it, and some releases keep the mark
        return image
    try:
        if image.getexif().get(ORIENTATION, 1) == 1:
            return image  # the function below would copy it
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's parser raises errors of many kinds
        return image


def wide_pixels(image: Image.Image) -> Array:
    """[H, W, 1] of an image with one wide channel."""
    return checked(np.asarray(upright(image))[:, :, None])


def checked(pixels: Array) -> Array:
    """The same pixels.

    Raises:
        BadRowError: some are not finite.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise BadRowError("the image has pixels that are not finite (NaN or infinite)")
    return pixels


def both_halves(content: Content, mode: str, *, big: bool) -> Array:
    """[H, W, 3 or 4] uint16 of colours with 16 bits, decoded twice, since Pillow keeps one half of each value.

    Args:
        content: the file.
        mode: ``RGB`` or ``RGBA``.
        big: whether the upper half comes first in the decoded data.
    """
    upper, lower = ("B", "L") if big else ("L", "B")
    pixels = decoded_as(content, f"{mode};16{upper}").astype(np.uint16)
    pixels <<= 8
    pixels |= decoded_as(content, f"{mode};16{lower}")
    return pixels


def decoded_as(content: Content, raw: str) -> Array:
    """Decode a file with another raw mode."""
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
