"""Decode a row's image to 8 bits a channel: files of all modes, arrays and tensors."""

from selfsup_vision.decoding.images import Opened, Reading, decode, decode_whole, opened
from selfsup_vision.decoding.raster import Raster, raster_of_array
from selfsup_vision.decoding.value_range import NOMINAL, RangeFit, ValueRange

__all__ = [
    "NOMINAL",
    "Opened",
    "RangeFit",
    "Raster",
    "Reading",
    "ValueRange",
    "decode",
    "decode_whole",
    "opened",
    "raster_of_array",
]
