"""Learn which numbers are black and white in images with more than 8 bits and in floats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from selfsup_vision.decoding.raster import Array, Kind, Raster

ValueRange = tuple[float, float]
"""Black and white."""
NOMINAL: Mapping[Kind, ValueRange] = {"8-bit": (0.0, 255.0), "integer": (0.0, 65535.0), "float": (0.0, 1.0)}
"""Black and white if nothing was learned."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits of cameras and scanners."""
_SAMPLE = 4096
"""Pixels of each image in the statistics of values."""
_DIM = 64
_POOR = 16
"""There is a warning if most pixels span less than this fraction (1 / 16) of the range."""


@dataclass
class RangeFit:
    """Statistics of the values of one kind of numbers in the rows that a processor is fitted on."""

    rows: int = 0
    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    """Whether all values are whole numbers."""
    declared: int = 0
    """Largest possible value that a file states."""
    samples: list[Array] = field(default_factory=list, repr=False)
    highs: list[float] = field(default_factory=list, repr=False)
    """The largest value of each image."""

    def add(self, raster: Raster) -> None:
        """Add an image."""
        values = raster.values[..., : raster.channels]
        self.rows += 1
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.highs.append(float(values.max()))
        self.declared = max(self.declared, raster.declared or 0)
        part = values.reshape(-1)[:: max(values.size // _SAMPLE, 1)].astype(np.float32)
        self.whole = self.whole and (raster.kind == "integer" or bool((part == np.rint(part)).all()))
        self.samples.append(part)

    def range(self) -> ValueRange:
        """Black and white for all images of the kind.

        Non-negative integers: 0 to the largest number of the fewest of 8, 10, 12, 14 or 16 bits that hold them all. Floats in
        0..1 or -1..1: that range. Everything else: from the smallest value seen (0 if that is near) to the largest.
        """
        top = max(self.high, float(self.declared))
        if not self.whole or top <= 1:
            if self.low >= -1 and top <= 1:
                return (0.0 if self.low >= 0 else -1.0), 1.0
            if self.low >= 0 and 200 <= top <= 255:
                return 0.0, 255.0
            return (0.0 if 0 <= self.low < top / 10 else self.low), top
        if self.low < 0:
            return self.low, top
        return 0.0, next((float(2**bits - 1) for bits in DEPTHS if top < 2**bits), top)

    def spread(self) -> ValueRange | None:
        """The range of 99.8 % of the pixels if it is less than a sixteenth of the range, which outliers then set; else None."""
        low, high = (float(value) for value in np.quantile(np.concatenate(self.samples), (0.001, 0.999)))
        black, white = self.range()
        return (low, high) if (white - black) > _POOR * max(high - low, 1e-12) and high > low else None

    def dim(self) -> int:
        """Number of images in the lowest 64th of the range, which are almost black and probably have another scale."""
        black, white = self.range()
        return sum(high - black < (white - black) / _DIM for high in self.highs)


def describe_range(kind: Kind, found: ValueRange) -> str:
    """``0..4095 (12 bits)``."""
    low, high = found
    bits = next((bits for bits in DEPTHS if found == (0.0, float(2**bits - 1))), None)
    return f"{low:g}..{high:g}" + (f" ({bits} bits)" if bits and kind == "integer" else "")


def scaled(raster: Raster, given: ValueRange | None, learned: Mapping[str, ValueRange]) -> tuple[Array, str]:
    """The colours of an image, with black at 0 and white at 255, and a remark.

    Args:
        raster: the image.
        given: black and white of images of more than 8 bits and of floats, from the user.
        learned: those of each kind of numbers, from the rows that the processor was fitted on.

    Returns:
        [H, W, C] float32 in 0..255; transparent pixels are white. The remark is empty unless values exceed the range, or no
        range was learned.
    """
    kind = raster.kind
    values = raster.values[..., : raster.channels]
    low, high = NOMINAL[kind] if kind == "8-bit" else given or learned.get(kind) or NOMINAL[kind]
    if raster.values.dtype == np.bool_:
        low, high = 0.0, 1.0
    remark = ""
    if kind != "8-bit":
        slack = 1e-3 * (high - low) if kind == "float" else 0.0
        if float(values.max()) > high + slack or float(values.min()) < low - slack:
            remark = f"values beyond {low:g}..{high:g}, which are clipped (processor.value_range=[LOW,HIGH] sets the range)"
        elif given is None and kind not in learned:
            noun = "floats" if kind == "float" else "more than 8 bits"
            remark = (
                f"images of {noun}, which the rows that the processor was fitted on do not contain: "
                f"the range is {low:g}..{high:g} (processor.value_range=[LOW,HIGH] sets it)"
            )
    exact: Array = values.astype(np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64)
    exact -= low  # in place, since a copy of a large image is large
    exact *= 255.0 / (high - low)
    numbers = np.clip(exact, 0, 255, out=exact).astype(np.float32, copy=False)
    return _on_white(numbers, raster), remark


def _on_white(colors: Array, raster: Raster) -> Array:
    """Colours in 0..255 on white, if the image has an opacity."""
    if not raster.alpha:
        return colors
    opacity = raster.values[..., -1:].astype(np.float32)
    if raster.values.dtype.kind != "f":
        opacity /= float(np.iinfo(raster.values.dtype).max)
    opacity = np.clip(opacity, 0, 1)
    result: Array = colors * opacity + 255.0 * (1 - opacity)
    return result
