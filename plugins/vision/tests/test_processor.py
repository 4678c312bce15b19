import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from selfsup.errors import ArtifactError, BadRowError, SourceError
from selfsup.images.processor import auto_size
from selfsup_vision.decoding import decode
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig


def _pixels(height: int = 40, width: int = 40) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 127 // (width + height)], axis=-1).astype(np.uint8)


def _encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _processor(size: int = 32) -> ImageProcessor:
    return ImageProcessor(ImageProcessorConfig(image_size=size))


def test_every_kind_of_value_gives_the_same_image(tmp_path: Path) -> None:
    image = Image.fromarray(_pixels())
    path = tmp_path / "image.png"
    image.save(path)
    content = path.read_bytes()
    values = [
        {"bytes": content, "path": None}, {"bytes": None, "path": str(path)}, content, str(path), path, image, _pixels(),
        _pixels().astype(np.float32) / 255, _pixels().astype(np.uint16) * 257,
    ]  # fmt: skip
    batch = _processor()([{"image": value} for value in values])
    assert batch["image"].shape == (9, 3, 32, 32)
    assert batch["image"].dtype == torch.uint8
    assert all(torch.equal(other, batch["image"][0]) for other in batch["image"][1:])


def test_the_shorter_side_is_resized_and_the_centre_cut() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    # The first and last column lie half over the edge of the white square.
    assert np.all(decode(wide, 10)[:, :, 1:-1] == 255)
    assert decode(wide.transpose(1, 0, 2), 10).shape == (3, 10, 10)
    assert decode(_pixels(8, 8), 16).shape == (3, 16, 16)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(stripes, 8).astype(int) - 127).max() <= 6


def test_exif_orientation_is_applied() -> None:
    image = Image.fromarray(_pixels())
    exif = image.getexif()
    exif[0x0112] = 6
    turned = decode(_encoded(image, "PNG", exif=exif), 40)
    assert np.array_equal(turned, np.rot90(_pixels(), k=-1).transpose(2, 0, 1))


def test_modes_become_rgb() -> None:
    grey = np.full((10, 10), 100, dtype=np.uint8)
    assert np.all(decode(grey, 10) == 100)
    assert np.all(decode(grey > 5, 10) == 255)
    palette = Image.fromarray(_pixels()).quantize(16)
    np.testing.assert_array_equal(decode(_encoded(palette), 40), np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    clear = Image.new("RGBA", (10, 10), (200, 10, 10, 0))
    assert np.all(decode(_encoded(clear), 10) == 255)
    half = Image.new("LA", (10, 10), (0, 128))
    assert np.all(np.abs(decode(_encoded(half), 10).astype(int) - 127) <= 1)
    cmyk = decode(_encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG"), 16)
    assert cmyk.shape == (3, 16, 16)
    deep = Image.fromarray(np.full((10, 10), 51400, dtype=np.uint16))
    assert np.all(decode(_encoded(deep), 10) == 200)
    assert np.all(decode(_encoded(Image.new("F", (10, 10), 0.5), "TIFF"), 10) == 128)


def test_large_jpegs_are_decoded_at_reduced_size_and_look_the_same() -> None:
    pixels = _pixels(1024, 1024)
    content = _encoded(Image.fromarray(pixels), "JPEG", quality=95)
    fast, exact = decode(content, 64).astype(int), decode(pixels, 64).astype(int)
    assert np.abs(fast - exact).mean() < 2


BAD = {
    "nothing": (None, "neither bytes nor a path"),
    "empty-dict": ({"bytes": None, "path": None}, "neither bytes nor a path"),
    "empty": (b"", "0 bytes"),
    "text": (b"this is no image at all", "not an image file"),
    "truncated-png": (_encoded(Image.fromarray(_pixels()))[:-60], "cannot be decoded"),
    "truncated-jpeg": (_encoded(Image.fromarray(_pixels(200, 200)), "JPEG")[:900], "cannot be decoded: .*truncated"),
    "missing-file": ("/nonexistent/image.png", "cannot be opened: .*No such file"),
    "wrong-type": (3.5, "type float is no image"),
    "wrong-shape": (np.zeros((4, 4, 7), dtype=np.uint8), r"shape \(4, 4, 7\) is no image"),
    "not-finite": (np.full((4, 4), np.nan), "not finite"),
    "out-of-range": (np.full((4, 4), 200.0), "must lie in 0..1; this one spans 200..200"),
    "wrong-dtype": (np.zeros((4, 4), dtype=np.int64), "type int64 is no image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_says_why(name: str) -> None:
    value, message = BAD[name]
    with pytest.raises(BadRowError, match=message):
        _processor().encode({"image": value})


def test_a_bad_row_does_not_stop_the_others() -> None:
    results = _processor().encode_rows([{"image": _pixels()}, {"image": b"no"}, {"image": _pixels()}])
    assert [isinstance(result, BadRowError) for result in results] == [False, True, False]


def test_auto_size_is_the_median_shorter_side() -> None:
    assert [auto_size([s], *ImageProcessor.auto_sizes) for s in (4, 28, 64, 65, 100, 224, 4000)] == [
        8,
        28,
        64,
        64,
        96,
        224,
        224,
    ]
    assert auto_size([32, 500, 32], 8, 224) == 32


def test_fit_reads_at_most_256_rows_and_passes_over_bad_ones() -> None:
    seen = 0

    def rows() -> Any:
        nonlocal seen
        while True:
            seen += 1
            yield {"image": b"bad" if seen % 2 else _encoded(Image.new("RGB", (50, 70)))}

    processor = ImageProcessor().fit(rows())
    assert dict(processor.info()) == {"image_size": 50, "channels": 3}
    assert seen == 256


def test_fit_without_a_readable_image_says_so() -> None:
    with pytest.raises(SourceError, match=r"no readable image among the first rows .*not an image file"):
        ImageProcessor().fit([{"image": b"bad"}])
    with pytest.raises(ValueError, match="has not been fitted"):
        ImageProcessor().info()


def test_processor_is_saved_and_loaded(tmp_path: Path) -> None:
    processor = ImageProcessor().fit([{"image": _pixels(36, 50)}])
    processor.save(tmp_path)
    again = ImageProcessor.load(tmp_path)
    assert again.info() == processor.info() == {"image_size": 36, "channels": 3}
    assert again.config == processor.config
    next(tmp_path.iterdir()).write_text("{}")
    with pytest.raises(ArtifactError, match="not a saved image processor"):
        ImageProcessor.load(tmp_path)


def test_image_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"8\.\.4096"):
        ImageProcessorConfig(image_size=3)
    assert ImageProcessorConfig(image_size="32").image_size == 32  # type: ignore[arg-type]
