"""Images of more than 8 bits and floats: one scale for a data set, learned, shown, set, kept with the encoder."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selfsup
from selfsup.errors import DataWarning
from selfsup_vision.decoding import RangeFit, Raster, opened
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig

Array = np.ndarray[Any, Any]


def png16(pixels: Array, filters: tuple[int, ...] = (0, 1, 2, 3, 4)) -> bytes:
    """A PNG of 16 bits a channel [H, W, 1 to 4], its lines with these filters in turn (PNG, second edition, section 9)."""
    height, width, channels = pixels.shape
    step = 2 * channels
    raw, above = b"", np.zeros(width * step, dtype=int)
    for y in range(height):
        line = np.frombuffer(pixels[y].astype(">u2").tobytes(), np.uint8).astype(int)
        left, corner = (np.concatenate([np.zeros(step, dtype=int), part[:-step]]) for part in (line, above))
        guess = left + above - corner
        by = abs(guess - left), abs(guess - above), abs(guess - corner)
        paeth = np.where((by[0] <= by[1]) & (by[0] <= by[2]), left, np.where(by[1] <= by[2], above, corner))
        kind = filters[y % len(filters)]
        predicted = (0, left, above, (left + above) // 2, paeth)[kind]
        raw += bytes([kind]) + ((line - predicted) % 256).astype(np.uint8).tobytes()
        above = line

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def pnm(pixels: Array, maximum: int, *, plain: bool = False) -> bytes:
    """A PGM or PPM file with more than 8 bits."""
    height, width, channels = pixels.shape
    kind = {(1, False): b"P5", (3, False): b"P6", (1, True): b"P2", (3, True): b"P3"}[channels, plain]
    body = " ".join(map(str, pixels.reshape(-1))).encode() if plain else pixels.astype(">u2").tobytes()
    return kind + f"\n# made here\n{width} {height}\n{maximum}\n".encode() + body


def random_pixels(channels: int, top: int, height: int = 12, width: int = 10) -> Array:
    return np.random.default_rng(channels).integers(0, top + 1, (height, width, channels)).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_16_bits_of_a_png_are_read(channels: int) -> None:
    pixels = random_pixels(channels, 65535)
    with opened(png16(pixels)) as image:
        assert isinstance(image, Raster)
        assert np.array_equal(image.values, pixels)
        assert image.alpha == (channels in (2, 4))


@pytest.mark.parametrize(
    ("channels", "maximum", "plain"), [(1, 1023, False), (3, 4095, True), (1, 65535, True), (3, 65535, False)]
)
def test_all_bits_of_a_pnm_are_read(channels: int, maximum: int, plain: bool) -> None:
    pixels = random_pixels(channels, maximum)
    with opened(pnm(pixels, maximum, plain=plain)) as image:
        assert isinstance(image, Raster)
        assert np.array_equal(image.values, pixels)
        assert image.declared == (None if maximum == 65535 else maximum)


def _grey(value: int, dtype: str = "uint16") -> Array:
    return np.full((8, 8), value).astype(dtype)


def _shown(processor: ImageProcessor, image: Any) -> int:
    batch = processor([{"image": image}])["image"]
    assert batch.float().std() == 0
    return int(batch[0, 0, 0, 0])


def _fitted(*images: Any, **options: Any) -> ImageProcessor:
    return ImageProcessor(ImageProcessorConfig(image_size=8, **options)).fit([{"image": image} for image in images])


@pytest.mark.parametrize(("bits", "top"), [(8, 200), (10, 1000), (12, 4000), (14, 9000), (16, 60000)])
def test_one_range_for_all_images_by_the_bits_that_hold_them(bits: int, top: int) -> None:
    """A dim image stays dim beside a bright one: each had its own scale before."""
    processor = _fitted(_grey(top), _grey(100))
    white = 2**bits - 1
    assert processor.fitted()["value_ranges"] == {"integer": [0.0, float(white)]}
    assert [_shown(processor, _grey(value)) for value in (0, 100, top, white)] == [
        round(255 * value / white) for value in (0, 100, top, white)
    ]
    assert f"0..{white} ({bits} bits)" in processor.findings().facts["value range"]
    encoded = io.BytesIO()
    Image.fromarray(_grey(100)).save(encoded, "PNG")
    colors = png16(np.repeat(_grey(100)[:, :, None], 3, axis=2))
    for other in (encoded.getvalue(), colors, pnm(_grey(100)[:, :, None], 65535), Image.fromarray(_grey(100))):
        assert _shown(processor, other) == round(255 * 100 / white)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.3, 1.0], (0, 1)), ([-0.5, 0.75], (-1, 1)), ([0.25, 251.5], (0, 255)), ([0.0, 4000.0], (0, 4095)),
        ([-1024.0, 3071.0], (-1024, 3071)), ([0.5, 40.25], (0, 40.25)), ([30.5, 40.25], (30.5, 40.25)), ([0.0, 1e9], (0, 1e9)),
    ],
)  # fmt: skip
def test_range_of_floats(values: list[float], expected: tuple[float, float]) -> None:
    fit = RangeFit()
    for value in values:
        fit.add(Raster(np.full((4, 4, 1), value, dtype=np.float32)))
    assert fit.range() == pytest.approx(expected)


def test_signed_and_wide_integers_span_what_was_seen() -> None:
    processor = _fitted(_grey(-1024, "int16"), _grey(3071, "int16"))
    assert [_shown(processor, _grey(value, "int16")) for value in (-1024, 3071)] == [0, 255]
    assert _shown(_fitted(_grey(0, "int32"), _grey(10**6, "int32")), _grey(500_000, "int32")) == 128
    assert _shown(_fitted(_grey(4000)), _grey(2000, "int64")) == round(255 * 2000 / 4095)
    beside = _fitted(_grey(4000), _grey(4095), _grey(100, "uint8"))
    assert [_shown(beside, image) for image in (_grey(100, "uint8"), _grey(2048))] == [100, 128]
    fact = beside.findings().facts["value range"]
    assert "2 of 3 images" in fact
    assert "0..255 for the 1 images of 8 bits" in fact


def test_values_beyond_the_range_are_clipped_and_counted() -> None:
    processor = _fitted(_grey(4000))
    assert _shown(processor, _grey(9000)) == 255
    (text,) = processor.take_remarks()
    assert text.startswith("values beyond 0..4095, which are clipped (processor.value_range=")
    floats = _fitted(np.full((8, 8), 0.5))
    assert _shown(floats, np.full((8, 8), 1.0004)) == 255  # rounding of an earlier step
    assert floats.take_remarks() == {}
    _shown(floats, np.full((8, 8), 200.0))
    _shown(floats, np.full((8, 8), -3.0))
    assert list(floats.take_remarks().values()) == [2]
    _shown(floats, _grey(4000))
    (text,) = floats.take_remarks()
    assert text.startswith("images of more than 8 bits, ")
    assert "0..65535" in text


def test_the_range_can_be_set_and_is_saved(tmp_path: Path) -> None:
    processor = _fitted(_grey(4000), _grey(100, "uint8"), value_range=[1000, 3000])
    assert [_shown(processor, _grey(value)) for value in (1000, 2000, 3000)] == [0, 128, 255]
    assert _shown(processor, _grey(100, "uint8")) == 100
    assert processor.findings().facts["value range"].startswith("1000..3000 (1 of 2 images")
    processor.save(tmp_path)
    again = ImageProcessor.load(tmp_path)
    assert _shown(again, _grey(2000)) == 128
    learned = _fitted(_grey(900))
    learned.save(tmp_path)
    again = ImageProcessor.load(tmp_path)
    assert _shown(again, _grey(512)) == _shown(learned, _grey(512)) == 128
    assert again.findings().facts["value range"] == "0..1023 for images of more than 8 bits"
    unused = _fitted(_grey(4, "uint8"), value_range=[0, 10]).findings()
    assert "changes nothing" in unused.warnings[0]
    with pytest.raises(ValueError, match=r"value_range is \[low, high\] with low < high"):
        ImageProcessorConfig(value_range=[5, 5])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"value_range is \[low, high\], such as \[0,4095\] for 12 bits; 12 is not"):
        ImageProcessorConfig(value_range="12")  # type: ignore[arg-type]


def test_a_range_that_most_values_do_not_use_is_warned_of() -> None:
    image = np.random.default_rng(0).integers(0, 900, (64, 64)).astype(np.uint16)
    assert not _fitted(image).findings().warnings
    hot = image.copy()
    hot[3, 4] = 65535
    (warning,) = _fitted(hot).findings().warnings
    assert "99.8 % of the values" in warning
    assert "--set processor.value_range=[" in warning
    # Files of 16 bits with values of 8 bits, beside files that use all bits, become black.
    images = [_grey(60000 if number % 4 else 200) for number in range(20)]
    (warning,) = _fitted(*images).findings().warnings
    assert warning.startswith("5 of 20 images of more than 8 bits")
    assert not _fitted(*images[1:4], *images[5:8]).findings().warnings


def test_transparency_of_16_bits_is_laid_on_white() -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint16)
    pixels[..., 3] = 32768
    pixels[..., 0] = 4095
    processor = _fitted(np.full((8, 8), 4095, dtype=np.uint16))
    red, green, _ = processor([{"image": png16(pixels)}])["image"][0, :, 0, 0].tolist()
    assert red == 255
    assert abs(green - 127) <= 1


def test_a_folder_of_12_bits_is_trained_on_and_embedded(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        top = 4000 if number % 2 else 1000
        pixels = np.random.default_rng(number).integers(0, top, (12, 12)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / f"{number}.png" if number < 6 else folder / f"{number}.tif")
    small = {"backbone.width": 8, "objective.hidden_dim": 16, "objective.output_dim": 8}
    run = selfsup.pretrain(
        "vision/simclr", data=str(folder), out=tmp_path / "run", steps=1, batch_size=4, precision="32", overrides=small
    )
    encoder = run.encoder
    row = {"image": np.full((12, 12), 9000, dtype=np.uint16)}
    with pytest.warns(DataWarning, match=r"1 of the 1 rows: values beyond 0\.\.4095, which are clipped"):
        encoder.embed([row])
    Image.fromarray(row["image"]).save(folder / "8.png")
    with pytest.warns(DataWarning, match=r"1 of the 9 rows of .*: values beyond 0\.\.4095"):
        selfsup.embed(encoder, str(folder), tmp_path / "out.npy")
