"""What points of the report's pictures of embeddings stand for: small pictures, texts and curves, kept once for all cells.

Processors make them (:meth:`selfsup.data.Processor.preview`), so that this module knows no modality. The pictures of all rows
are on one sheet, which needs a tenth of the bytes of separate pictures.
"""

from __future__ import annotations

import base64
import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from selfsup.data import CurvePreview, ImagePreview, Preview, Processor, Rows, TextPreview
from selfsup.errors import BenchmarkError, SelfsupError
from selfsup_bench.records.record import read_json, write_json

FOLDER = "previews"
"""In a benchmark's folder."""
MOST_TEXT = 600
"""Characters of all texts of a row at most."""
MOST_CURVE = 240
"""Values of a curve at most."""
MOST_TILES = 1200
"""Pictures on a sheet at most; rows beyond it show none."""
MOST_SIDE = 192
"""Pixels of a side of a picture at most."""

Part = dict[str, Any]
"""``{"text": str}``, ``{"tile": number on the sheet, "w": pixels, "h": pixels}`` or ``{"curve": [-100..100]}``."""


@dataclass(frozen=True, kw_only=True)
class Previews:
    """Previews of the rows of one data set."""

    rows: Mapping[int, tuple[Part, ...]]
    """By the row's place among the labelled test rows."""
    sheet: str = ""
    """All pictures as one, encoded (base64); empty where there are none."""
    mime: str = "image/png"
    tile: tuple[int, int] = (0, 0)
    """Width and height of a picture's place on the sheet."""
    columns: int = 1
    """Pictures in a row of the sheet."""

    @property
    def sheet_size(self) -> tuple[int, int]:
        """Width and height of the sheet in pixels."""
        tiles = sum("tile" in part for parts in self.rows.values() for part in parts)
        return self.columns * self.tile[0], math.ceil(tiles / self.columns) * self.tile[1]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = {str(place): list(parts) for place, parts in self.rows.items()}
        return {"rows": rows, "sheet": self.sheet, "mime": self.mime, "tile": list(self.tile), "columns": self.columns}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`.

        Raises:
            BenchmarkError: the values are damaged.
        """
        try:
            rows = {int(place): tuple(_checked(part) for part in parts) for place, parts in values["rows"].items()}
            base64.b64decode(values["sheet"], validate=True)
            if values["mime"] not in ("image/png", "image/jpeg"):
                raise ValueError(f"{values['mime']!r} is no kind of picture")
            width, height = map(int, values["tile"])
            columns = max(1, int(values["columns"]))
            return cls(rows=rows, sheet=values["sheet"], mime=values["mime"], tile=(width, height), columns=columns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BenchmarkError(f"the previews are damaged: {error!r}") from error


def _checked(part: Any) -> Part:
    if isinstance(part.get("text"), str):
        return {"text": part["text"]}
    if "curve" in part:
        return {"curve": [int(value) for value in part["curve"]]}
    return {key: int(part[key]) for key in ("tile", "w", "h")}


def make_previews(rows: Rows, places: Sequence[int], processor: Processor) -> Previews:
    """Previews of some rows; a row whose preview fails has none.

    Args:
        rows: of the data set.
        places: of the rows to be shown.
        processor: fitted, of the rows' modality.
    """
    tiles: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    found: dict[int, tuple[Part, ...]] = {}
    for start in range(0, len(places), 64):
        chunk = list(places[start : start + 64])
        for place, row in zip(chunk, rows.read(chunk), strict=True):
            try:
                parts = _parts(processor.preview(row), tiles)
            except (
                Exception
            ):  # code of plugins: what goes wrong there leaves a point without a preview, not a cell without a record
                continue
            if parts:
                found[int(place)] = parts
    processor.take_remarks()
    if not tiles:
        return Previews(rows=found)
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    columns = max(1, round(math.sqrt(len(tiles) * height / width)))
    content, mime = _encoded(_sheet(tiles, height, width, columns))
    return Previews(rows=found, sheet=base64.b64encode(content).decode(), mime=mime, tile=(width, height), columns=columns)


def _parts(previews: Sequence[Preview], tiles: list[np.ndarray[Any, np.dtype[np.uint8]]]) -> tuple[Part, ...]:
    parts: list[Part] = []
    left = MOST_TEXT
    for preview in previews:
        if isinstance(preview, TextPreview):
            text = preview.text[:left]
            left -= len(text)
            if text:
                parts.append({"text": text})
        elif isinstance(preview, CurvePreview):
            parts.append({"curve": [_percent(value) for value in preview.values[:MOST_CURVE]]})
        elif isinstance(preview, ImagePreview) and len(tiles) < MOST_TILES:
            pixels = _coloured(preview.pixels)
            parts.append({"tile": len(tiles), "w": pixels.shape[1], "h": pixels.shape[0]})
            tiles.append(pixels)
    return tuple(parts)


def _percent(value: float) -> int:
    return round(100 * min(1.0, max(-1.0, value))) if math.isfinite(value) else 0


def _coloured(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[H, W, 3]."""
    pixels = np.asarray(pixels, dtype=np.uint8)[:MOST_SIDE, :MOST_SIDE]
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ValueError(f"a picture of shape {pixels.shape}")
    return pixels[:, :, :3] if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _sheet(
    tiles: Sequence[np.ndarray[Any, np.dtype[np.uint8]]], height: int, width: int, columns: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """All tiles in rows of ``columns``, each in the upper left of its place."""
    sheet = np.zeros((math.ceil(len(tiles) / columns) * height, columns * width, 3), dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _encoded(sheet: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[bytes, str]:
    """As PNG without loss, or as JPEG where that is less than half of it."""
    from PIL import Image

    image = Image.fromarray(sheet)
    if (sheet[:, :, 0] == sheet[:, :, 1]).all() and (sheet[:, :, 0] == sheet[:, :, 2]).all():
        image = image.convert("L")
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=72, optimize=True)
    small = len(jpeg.getvalue()) < len(png.getvalue()) / 2
    return (jpeg.getvalue(), "image/jpeg") if small else (png.getvalue(), "image/png")


def keep_previews(out: Path, rows: Rows, places: Sequence[int], processor: Processor) -> str:
    """Make the previews of a data set's rows, unless another cell has made them.

    Args:
        out: the benchmark's folder.
        rows: of the data set.
        places: of the rows to be shown.
        processor: fitted, of the rows' modality.

    Returns:
        Their name for :func:`read_previews`; empty if they could not be made, which is reported on stderr.
    """
    name = rows.fingerprint[:16]
    path = out / FOLDER / f"{name}.json"
    if path.is_file():
        return name
    try:
        write_json(path, make_previews(rows, places, processor).as_dict())
    except (SelfsupError, OSError, ValueError) as error:
        sys.stderr.write(f"no previews of {rows.name}: {error}\n")
        return ""
    return name


def read_previews(out: Path, names: Sequence[str]) -> dict[str, Previews]:
    """The previews of these names; missing and damaged ones are left out, since a report needs none."""
    found: dict[str, Previews] = {}
    for name in names:
        path = out / FOLDER / f"{name}.json"
        try:
            if name.isalnum() and path.is_file():
                found[name] = Previews.from_dict(read_json(path))
        except BenchmarkError as error:
            sys.stderr.write(f"{path}: {error}\n")
    return found
