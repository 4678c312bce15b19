from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from selfsup.data import CurvePreview, ImagePreview, Preview, Rows, TextPreview
from selfsup.errors import BenchmarkError
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig
from selfsup.types import Row
from selfsup_bench.cells.previews import Previews, keep_previews, make_previews, read_previews
from selfsup_bench.records.record import write_json

COLOURS = np.arange(10, dtype=np.uint8) * 25


class Showing(SequenceProcessor):
    """Shows a picture of one colour, a text and a curve; fails on row 3 and has nothing of row 4."""

    def __init__(self) -> None:
        super().__init__(SequenceProcessorConfig())

    def preview(self, row: Row) -> list[Preview]:
        number = row["number"]
        if number == 3:
            raise ZeroDivisionError
        if number == 4:
            return []
        pixels = np.full((4, 6 + number % 2, 3), COLOURS[number], dtype=np.uint8)
        return [ImagePreview(pixels), TextPreview(f"<b>{number}</b>" + "x" * 3000), CurvePreview((0.5, -7.0, float("nan")))]


@pytest.fixture
def rows() -> Rows:
    return Rows(Dataset.from_dict({"number": list(range(10))}), {"number": "number"}, name="ten", fingerprint="abc123" * 9)


def sheet_of(previews: Previews) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(previews.sheet))).convert("RGB"))


def test_previews_lie_on_one_sheet_and_failures_leave_their_row_out(rows: Rows) -> None:
    previews = make_previews(rows, [1, 3, 4, 6, 9], Showing())
    assert list(previews.rows) == [1, 6, 9]
    assert previews.tile == (7, 4)
    sheet = sheet_of(previews)
    assert previews.sheet_size == (sheet.shape[1], sheet.shape[0])
    for place, width in ((1, 7), (6, 6), (9, 7)):
        picture, text, curve = previews.rows[place]
        top, left = picture["tile"] // previews.columns * 4, picture["tile"] % previews.columns * 7
        assert (picture["w"], picture["h"]) == (width, 4)
        assert (sheet[top : top + 4, left : left + width] == COLOURS[place]).all()
        assert text["text"].startswith(f"<b>{place}</b>x")
        assert len(text["text"]) == 600
        assert curve == {"curve": [50, -100, 0]}


def test_previews_are_made_once_and_read_again(rows: Rows, tmp_path: Path) -> None:
    name = keep_previews(tmp_path, rows, range(10), Showing())
    written = (tmp_path / "previews" / f"{name}.json").stat().st_mtime_ns
    assert keep_previews(tmp_path, rows, range(10), Showing()) == name
    assert (tmp_path / "previews" / f"{name}.json").stat().st_mtime_ns == written
    found = read_previews(tmp_path, [name, "absent", "../x"])
    assert found == {name: make_previews(rows, range(10), Showing())}


def test_previews_that_cannot_be_written_or_read_are_said_and_missing(
    rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "previews").write_text("in the way")
    assert keep_previews(tmp_path, rows, range(10), Showing()) == ""
    assert "no previews of ten" in capsys.readouterr().err
    write_json(tmp_path / "other" / "previews" / "bad.json", {"rows": {}, "sheet": "<>", "mime": "image/png", "tile": [1, 1]})
    assert read_previews(tmp_path / "other", ["bad"]) == {}
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"mime": "text/html"}, {"sheet": '"><script>'}, {"rows": {"x": []}}, {"tile": [1]}])
def test_damaged_previews_are_refused(rows: Rows, change: dict[str, Any]) -> None:
    values = make_previews(rows, range(10), Showing()).as_dict()
    assert Previews.from_dict(values).as_dict() == values
    with pytest.raises(BenchmarkError, match="damaged"):
        Previews.from_dict({**values, **change})


def test_photos_are_kept_as_jpeg_and_drawings_without_loss(rows: Rows) -> None:
    class Noise(Showing):
        def preview(self, row: Row) -> list[Preview]:
            return [ImagePreview(np.random.default_rng(row["number"]).integers(0, 256, (48, 48, 3)).astype(np.uint8))]

    assert make_previews(rows, range(10), Noise()).mime == "image/jpeg"
    assert make_previews(rows, range(10), Showing()).mime == "image/png"
