import pytest

from selfsup.data import TextPreview
from selfsup.data.previews import PREVIEW_CHARACTERS
from selfsup.errors import BadRowError
from selfsup_text.processor import TextProcessor


def test_the_beginning_of_a_text_is_shown() -> None:
    processor = TextProcessor().fit([{"text": f"some words of a row {i}"} for i in range(20)])
    assert processor.preview({"text": "Two\n lines <b>"}) == [TextPreview("Two lines <b>")]
    (preview,) = processor.preview({"text": "word " * 5000})
    assert isinstance(preview, TextPreview)
    assert PREVIEW_CHARACTERS - 6 < len(preview.text) <= PREVIEW_CHARACTERS
    with pytest.raises(BadRowError, match="no text"):
        processor.preview({"text": None})
