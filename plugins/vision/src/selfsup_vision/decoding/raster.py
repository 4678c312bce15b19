"""Images as numbers of any type and with any number of channels, before it is known which are black and white."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from selfsup.errors import BadRowError

Array = np.ndarray[Any, Any]
Layout = Literal["auto", "channels-last", "channels-first"]
Kind = Literal["8-bit", "integer", "float"]

MOST_CHANNELS = 64
"""Channels of an array that are told from its height and width without help."""
NUMPY_MAGIC = b"\x93NUMPY"
_SET_LAYOUT = "set processor.array_layout=channels-last or channels-first"


@dataclass(frozen=True)
class Raster:
    """An image as the numbers that its file or array holds."""

    values: Array
    """[H, W, C], with the opacity as the last channel where there is one."""
    alpha: bool = False
    """Whether the last channel is opacity: full at the largest value of an integer type, and at 1 for floats."""
    declared: int | None = None
    """Largest value that the file says it can hold, where it says less than its numbers could."""
    pages: int = 1
    """The first page of the file, or all pages as channels."""

    @property
    def channels(self) -> int:
        """C without the opacity."""
        return int(self.values.shape[2]) - self.alpha

    @property
    def kind(self) -> Kind:
        """How its numbers are scaled: 8 bits by themselves, wider whole numbers and floats by the range of the data."""
        if self.values.dtype in (np.uint8, np.bool_):
            return "8-bit"
        return "float" if np.issubdtype(self.values.dtype, np.floating) else "integer"


def raster_of_array(array: Array, channels: int | None = None, layout: Layout = "auto") -> Raster:
    """An array as an image.

    Args:
        array: [H, W], [H, W, C] or [C, H, W] of any whole or real numbers, or bool.
        channels: C, where the user says it; four channels of uint8 are else colours and opacity.
        layout: where the channels lie. ``auto``: along the first or last axis, which has as many as ``channels`` says, or at
            most 64 and fewer than the other.

    Raises:
        BadRowError: it is no image, or it cannot be told where its channels lie.
    """
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise BadRowError(f"an array of type {array.dtype} is no image: whole or real numbers are wanted")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not array.size:
        raise BadRowError(f"an array of shape {array.shape} is no image: [H, W], [H, W, C] or [C, H, W] is wanted")
    if _first_axis(array.shape, channels, layout):
        array = np.moveaxis(array, 0, 2)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadRowError("the image has pixels that are not finite (NaN or infinite)")
    n = array.shape[2]
    alpha = n == 4 and array.dtype == np.uint8 and channels in (None, 1, 3)
    return Raster(array, alpha=alpha)


def _first_axis(shape: tuple[int, ...], channels: int | None, layout: Layout) -> bool:
    """Whether the channels of a 3-d array lie along its first axis."""
    if layout != "auto":
        return layout == "channels-first"
    first, last = shape[0], shape[2]
    if channels is not None and (first == channels) != (last == channels):
        return first == channels
    usual = (1, 3, 4)
    if min(first, last) <= MOST_CHANNELS and first != last:
        if (first in usual) != (last in usual):
            return first in usual
        return first < last
    if first == last <= MOST_CHANNELS:
        raise BadRowError(f"it cannot be told where the channels of an array of shape {shape} lie: {_SET_LAYOUT}")
    raise BadRowError(
        f"an array of shape {shape} has more than {MOST_CHANNELS} channels, whichever axis they lie along: set "
        f"processor.channels=N, or {_SET_LAYOUT}"
    )


def array_of_npy(content: bytes) -> Array:
    """The array that an npy file holds. Nothing in it is executed.

    Raises:
        BadRowError: it is damaged, or holds Python objects.
    """
    try:
        array: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, SyntaxError) as error:
        raise BadRowError(f"the npy file cannot be read: {error}") from error
    return array
