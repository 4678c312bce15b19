"""Small previews of a row for a report: texts, images, curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfsup.types import Row

PREVIEW_SIDE = 48
"""Longer side of an image, in pixels."""
PREVIEW_CHARACTERS = 240
"""Most characters of a text."""
PREVIEW_COLUMNS = 12
"""Most columns of a row."""


@dataclass(frozen=True)
class TextPreview:
    """A text, or ``column: value`` lines."""

    text: str


@dataclass(frozen=True, eq=False)
class ImagePreview:
    """An image: uint8 [H, W] (grey) or [H, W, 3] (red, green, blue)."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class CurvePreview:
    """Numbers over time, drawn as a line: -1..1 for a waveform."""

    values: tuple[float, ...]


Preview = TextPreview | ImagePreview | CurvePreview
"""A row in a report."""


def shortened(text: str, most: int = PREVIEW_CHARACTERS) -> str:
    """A text on one line, cut at ``most`` characters, between words if possible."""
    # Read only the start of a long document.
    line = " ".join(text[: 4 * most].split())
    if len(line) <= most and len(text) <= 4 * most:
        return line
    head = line[: most - 1]
    return (head.rsplit(" ", 1)[0] if " " in head[most // 2 :] else head) + "…"


def text_of_row(row: Row) -> str:
    """A row as ``column: value`` lines; a single text alone; for a file its name."""
    lines = [(role, _shown(value)) for role, value in row.items()]
    shown = [(role, value) for role, value in lines if value]
    if len(shown) == 1:
        return shown[0][1]
    more = len(shown) - PREVIEW_COLUMNS
    text = "\n".join(f"{shortened(role, 40)}: {shortened(value, 60)}" for role, value in shown[:PREVIEW_COLUMNS])
    return f"{text}\n… and {more} more" if more > 0 else text


def _shown(value: Any) -> str:
    """One value for people; empty if there is nothing to show."""
    if isinstance(value, Mapping):
        path = value.get("path")
        return str(path).replace("\\", "/").rsplit("/", 1)[-1] if path else ""
    if value is None or isinstance(value, bytes | bytearray | memoryview):
        return ""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return shortened(str(value))


def thumbnail(pixels: np.ndarray[Any, Any], side: int = PREVIEW_SIDE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Shrink an image by area means, until its longer side is at most ``side`` pixels.

    Args:
        pixels: uint8 [C, H, W]. With more than 3 channels the first three are the colours; with 2 the first is grey.
        side: in pixels.

    Returns:
        uint8 [h, w], or [h, w, 3]; small images are not changed.
    """
    import torch
    from torch.nn import functional as F

    image = torch.from_numpy(np.ascontiguousarray(pixels[:3] if len(pixels) >= 3 else pixels[:1]))
    height, width = image.shape[1:]
    factor = side / max(height, width)
    if factor < 1:
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        image = F.interpolate(image[None].float(), size=size, mode="area")[0].round().clamp(0, 255).to(torch.uint8)
    found: np.ndarray[Any, np.dtype[np.uint8]] = image.permute(1, 2, 0).numpy()
    return found if found.shape[2] == 3 else found[:, :, 0]


def envelope(samples: np.ndarray[Any, Any], parts: int = 60) -> tuple[float, ...]:
    """A waveform as lowest and highest value of each of ``parts`` stretches, in turn, as sound editors draw it.

    Args:
        samples: [T], numbers of any scale.
        parts: number of stretches, at most one per sample.

    Returns:
        2 * parts values, with 3 decimals.
    """
    if not len(samples):
        return ()
    pieces = np.array_split(np.asarray(samples, dtype=np.float64), min(parts, len(samples)))
    return tuple(round(float(value), 3) for piece in pieces for value in (piece.min(), piece.max()))
