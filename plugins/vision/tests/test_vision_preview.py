import numpy as np
import pytest

from selfsup.data import ImagePreview
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig


def shown(values: list[np.ndarray], **options: object) -> list[np.ndarray]:
    rows = [{"image": value} for value in values]
    processor = ImageProcessor(ImageProcessorConfig.model_validate(options)).fit(rows)
    found = []
    for row in rows:
        (preview,) = processor.preview(row)
        assert isinstance(preview, ImagePreview)
        found.append(preview.pixels)
    return found


@pytest.mark.parametrize(("channels", "shape"), [(3, (12, 12, 3)), (1, (12, 12)), (5, (12, 12, 3))])
def test_small_images_are_shown_as_they_are(channels: int, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 12, channels)).astype(np.uint8)
    (pixels,) = shown([image], channels=channels, array_layout="channels-last")
    assert pixels.shape == shape
    assert (pixels.reshape(12, 12, -1) == image[:, :, : 3 if channels > 1 else 1]).all()


def test_large_images_keep_their_aspect_and_stand_upright() -> None:
    wide, tall = np.zeros((64, 128, 3), dtype=np.uint8), np.zeros((128, 64, 3), dtype=np.uint8)
    wide[:, :64, 0] = tall[:64, :, 0] = 200
    lying, standing = shown([wide, tall], image_size=64)
    assert lying.shape == (24, 48, 3)
    assert standing.shape == (48, 24, 3)
    assert lying[:, 0, 0].tolist() == [200] * 24
    assert lying[:, -1, 0].tolist() == [0] * 24
    assert standing[0, :, 0].tolist() == [200] * 24
    assert standing[-1, :, 0].tolist() == [0] * 24
