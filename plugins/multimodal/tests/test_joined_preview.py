import numpy as np
import pytest

from selfsup.data import ImagePreview, TextPreview
from selfsup_multimodal.config import MultimodalProcessorConfig
from selfsup_multimodal.processor import MultimodalProcessor

pytest.importorskip("selfsup_vision")
pytest.importorskip("selfsup_text")


def test_a_picture_with_captions_is_shown_with_the_first_of_them() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "vision/image": rng.integers(0, 256, (12, 12, 3)).astype(np.uint8),
            "text/text": [f"a picture of number {i}", f"number {i} again"],
        }
        for i in range(20)
    ]
    processor = MultimodalProcessor(MultimodalProcessorConfig.model_validate({"parts": ["vision", "text"]})).fit(rows)
    picture, text = processor.preview(rows[3])
    assert isinstance(picture, ImagePreview)
    assert (picture.pixels == rows[3]["vision/image"]).all()
    assert text == TextPreview("a picture of number 3")
    assert processor.preview({**rows[3], "vision/image": None}) == [TextPreview("a picture of number 3")]
    assert processor.preview({"vision/image": None, "text/text": []}) == []
