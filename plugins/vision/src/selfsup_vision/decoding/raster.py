"""Images as arrays of any type and number of channels, before they are scaled to black and white."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from selfsup.errors import BadRowError
from selfsup.runtime import read_npy

Array = np.ndarray[Any, Any]
Layout = Literal["auto", "channels-last", "channels-first"]
Kind = Literal["8-bit", "integer", "float"]

MOST_CHANNELS = 64
"""Most channels whose axis is found without help."""
NUMPY_MAGIC = b"\x93NUMPY"
_SET_LAYOUT = "set processor.array_layout=channels-last or channels-first"


@dataclass(frozen=True)
class Raster:
    """An image as the numbers in its file or array."""

    values: Array
    """[H, W, C], with the opacity, if any, as the last channel."""
    alpha: bool = False
    """Whether the last channel is opacity: full at the largest value of an integer type, and at 1 for floats."""
    declared: int | None = None
    """Largest possible value that the file states, if it is less than that of its type."""
    pages: int = 1
    """Pages of the file."""

    @property
    def channels(self) -> int:
        """C without the opacity."""
        return int(self.values.shape[2]) - self.alpha

    @property
    def kind(self) -> Kind:
        """Kind of numbers: 8 bits have their own scale, wider integers and floats that of the data."""
        if self.values.dtype in (np.uint8, np.bool_):
            return "8-bit"
        return "float" if np.issubdtype(self.values.dtype, np.floating) else "integer"


def raster_of_array(array: Array, channels: int | None = None, layout: Layout = "auto") -> Raster:
    """An array as an image.

    Args:
        array: [H, W], [H, W, C] or [C, H, W] of any whole or real numbers, or bool.
        channels: C if the user sets it; otherwise four channels of uint8 are colours and opacity.
        layout: the axis of the channels. ``auto``: the first or last axis, whichever has ``channels`` entries, or at most 64
            and fewer than the other.

    Raises:
        BadRowError: it is not an image, or the axis of its channels is unclear.
    """
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise BadRowError(f"an array of type {array.dtype} is no image; give integers or floating-point numbers")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not array.size:
        raise BadRowError(f"an array of shape {array.shape} is no image; give [H, W], [H, W, C] or [C, H, W]")
    if _first_axis(array.shape, channels, layout):
        array = np.moveaxis(array, 0, 2)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadRowError("the image has pixels that are not finite (NaN or infinite)")
    n = array.shape[2]
    alpha = n == 4 and array.dtype == np.uint8 and channels in (None, 1, 3)
    return Raster(array, alpha=alpha)


def _first_axis(shape: tuple[int, ...], channels: int | None, layout: Layout) -> bool:
    """Whether the first axis of a 3-d array is that of the channels."""
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
        raise BadRowError(f"the axis of the channels of an array of shape {shape} is unclear: {_SET_LAYOUT}")
    raise BadRowError(
        f"an array of shape {shape} has more than {MOST_CHANNELS} channels along either axis: set "
        f"processor.channels=N, or {_SET_LAYOUT}"
    )


def array_of_npy(content: bytes) -> Array:
    """The array that an npy file holds. Nothing in it is executed.

    Raises:
        BadRowError: it is damaged, or holds Python objects.
    """
    try:
        return read_npy(io.BytesIO(content))
    except (ValueError, OSError) as error:
        raise BadRowError(f"the npy file cannot be read: {error}") from error
