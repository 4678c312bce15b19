"""Small functions that write SVG text: elements, scales, ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Attribute = str | float | int


def element(name: str, *children: str, **attributes: Attribute) -> str:
    """An element; ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``, numbers are kept short."""
    text = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    inner = "".join(children)
    return f"<{name}{text}>{inner}</{name}>" if inner else f"<{name}{text}/>"


def _value(value: Attribute) -> str:
    return escape(value) if isinstance(value, str) else short(value)


def text(content: str, x: float, y: float, **attributes: Attribute) -> str:
    """Escaped text at a place."""
    return element("text", escape(content), x=x, y=y, **attributes)


def title(content: str) -> str:
    """A tooltip, which screen readers read too."""
    return element("title", escape(content))


def short(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".rstrip("0").rstrip(".").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")


def path(points: Sequence[tuple[float, float]]) -> str:
    """The ``d`` of a polyline."""
    return "M" + "L".join(f"{short(x)} {short(y)}" for x, y in points)


def dots(points: Sequence[tuple[float, float]]) -> str:
    """The ``d`` of zero-long strokes: with round caps each is a dot, at a tenth of a circle element's size."""
    return "".join(f"M{short(x)} {short(y)}h0" for x, y in points)


class Scale:
    """A linear or logarithmic map from data to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        if not high > low:
            # All data in one place: it goes to the middle.
            low, high = (low / 2, low * 2) if log else (low - 0.5, low + 0.5)
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2, 2.5 or 5 times a power of ten) within a range."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / max(1, count)
    power: float = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A number for an axis: 4000 as 4k, 0.25 as 0.25."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e3:
        return f"{value / 1e3:g}k"
    return f"{value:g}"
