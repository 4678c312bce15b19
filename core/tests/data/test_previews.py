from __future__ import annotations

import numpy as np
import pytest

from selfsup.data import Processor, TextPreview
from selfsup.data.previews import PREVIEW_CHARACTERS, envelope, shortened, text_of_row, thumbnail
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig


def test_a_modality_without_a_preview_of_its_own_shows_the_values_of_a_row() -> None:
    processor = SequenceProcessor(SequenceProcessorConfig())
    assert type(processor).preview is Processor.preview
    assert processor.preview({"a": 1.5, "b": "word", "c": None}) == [TextPreview("a: 1.5\nb: word")]
    assert processor.preview({"c": None, "file": {"bytes": b"x", "path": None}}) == []


def test_text_of_row_names_columns_where_there_are_several() -> None:
    assert text_of_row({"text": "only this"}) == "only this"
    assert text_of_row({"file": {"bytes": None, "path": "a/b/c.wav"}, "n": float("nan")}) == "c.wav"
    many = text_of_row({f"c{i}": i for i in range(15)})
    assert many.splitlines()[-1] == "… and 3 more"
    assert len(many.splitlines()) == 13


def test_shortened_cuts_between_words_and_keeps_one_line() -> None:
    assert shortened("a\n b\tc") == "a b c"
    cut = shortened("word " * 1000)
    assert cut.endswith("word…")
    assert len(cut) <= PREVIEW_CHARACTERS
    assert len(shortened("字" * 1000)) == PREVIEW_CHARACTERS
    # Blanks at the start may hide that more follows.
    assert shortened(" " * 2000 + "x").endswith("…")


def test_thumbnail_takes_the_mean_of_areas() -> None:
    picture = np.zeros((3, 96, 192), dtype=np.uint8)
    picture[0, :, ::2] = 100
    small = thumbnail(picture)
    assert small.shape == (24, 48, 3)
    assert small.dtype == np.uint8
    assert (small[:, :, 0] == 50).all()
    assert (small[:, :, 1:] == 0).all()


@pytest.mark.parametrize(("channels", "shape"), [(1, (8, 6)), (2, (8, 6)), (3, (8, 6, 3)), (13, (8, 6, 3))])
def test_thumbnail_of_any_channels_is_grey_or_coloured_and_small_ones_stay(channels: int, shape: tuple[int, ...]) -> None:
    picture = np.arange(channels * 48, dtype=np.uint8).reshape(channels, 8, 6)
    small = thumbnail(picture)
    assert small.shape == shape
    assert (small.reshape(8, 6, -1)[:, :, 0] == picture[0]).all()


def test_envelope_is_lowest_and_highest_of_each_stretch() -> None:
    assert envelope(np.array([1, -1, 2, 0]), parts=2) == (-1, 1, 0, 2)
    assert envelope(np.array([0.5])) == (0.5, 0.5)
    assert envelope(np.array([])) == ()
