import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

import selfsup
from selfsup.data.batches.loader import Loader
from selfsup.data.batches.sampler import EpochSampler
from selfsup.data.batches.windows import shown_lengths
from selfsup.data.samples import stack_samples
from selfsup.data.store.format import Store
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import ArtifactError, BadRowError, SourceError
from selfsup_images.processor import auto_size
from selfsup_vision.augmentations import ImageViews, ImageViewsConfig
from selfsup_vision.decoding import decode
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig


def _pixels(height: int = 40, width: int = 40) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 127 // (width + height)], axis=-1).astype(np.uint8)


def _encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _processor(size: int | str = 32, **options: Any) -> ImageProcessor:
    return ImageProcessor(ImageProcessorConfig(image_size=size, **options))


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
    assert all(torch.equal(other, batch["image"][0]) for other in batch["image"][1:7])
    # Numbers that are not of 8 bits are resized before they are rounded.
    assert int((batch["image"][7:].int() - batch["image"][0].int()).abs().max()) <= 1


def test_the_shorter_side_is_resized_and_the_centre_cut() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    # The first and last column lie half over the edge of the white square.
    assert np.all(decode(wide, 10)[:, :, 1:-1] == 255)
    assert decode(wide.transpose(1, 0, 2), 10).shape == (3, 10, 10)
    assert decode(_pixels(8, 8), 16).shape == (3, 16, 16)


def test_the_centre_is_cut_in_whole_pixels() -> None:
    """Half a pixel off, the longer axis would be smoothed: on noise that alone shows how an image was turned."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 45, 3)).astype(np.uint8)
    for made in (decode(noise, 32), _processor()([{"image": noise}])["image"][0]):
        assert np.array_equal(made, noise[:, 6:38].transpose(2, 0, 1))


def test_resizing_is_antialiased_and_large_jpegs_are_decoded_at_reduced_size() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(stripes, 8).astype(int) - 127).max() <= 6
    pixels = _pixels(1024, 1024)
    fast = decode(_encoded(Image.fromarray(pixels), "JPEG", quality=95), 64)
    assert np.abs(fast.astype(int) - decode(pixels, 64)).mean() < 2


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied_once(format: str) -> None:
    """Pillow turns a TIFF when it loads it, and some releases keep the mark: it was turned back then."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _encoded(Image.fromarray(_pixels()), format, exif=exif)
    for value in (content, Image.open(io.BytesIO(content))):
        assert np.array_equal(decode(value, 40), np.rot90(_pixels(), k=-1).transpose(2, 0, 1))


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


BAD = {
    "nothing": (None, "neither bytes nor a path"),
    "empty-dict": ({"bytes": None, "path": None}, "neither bytes nor a path"),
    "empty": (b"", "0 bytes"),
    "text": (b"this is no image at all", "not an image file"),
    "truncated-png": (_encoded(Image.fromarray(_pixels()))[:-60], "cannot be decoded"),
    "truncated-jpeg": (_encoded(Image.fromarray(_pixels(200, 200)), "JPEG")[:900], "cannot be decoded: .*truncated"),
    "missing-file": ("/nonexistent/image.png", "cannot be opened: there is no such file"),
    "device": ("/dev/null", "it is a device or pipe, not a file"),
    "folder": ("/", "it is a folder, not a file"),
    "wrong-type": (3.5, "type float is no image"),
    "channels": (np.zeros((9, 9, 7), dtype=np.uint8), r"has 7 channels, and the processor takes 3 \(processor.channels\)"),
    "wrong-shape": (np.zeros((2, 4, 4, 3), dtype=np.uint8), r"shape \(2, 4, 4, 3\) is no image"),
    "unclear-shape": (
        np.zeros((9, 4, 9), dtype=np.uint8),
        r"axis of the channels .* \(9, 4, 9\) is unclear: set processor",
    ),
    "many-channels": (np.zeros((99, 99, 90), dtype=np.uint8), r"more than 64 channels.*: set processor.channels=N"),
    "not-finite": (np.full((4, 4), np.nan), "not finite"),
    "infinite-tiff": (_encoded(Image.fromarray(np.full((4, 4), np.inf, dtype=np.float32)), "TIFF"), "not finite"),
    "wrong-dtype": (np.zeros((4, 4), dtype=np.complex64), "type complex64 is no image"),
    "damaged-npy": (b"\x93NUMPY\x01\x00 and an end", "the npy file cannot be read"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"pip install 'selfsup-vision\[heif\]'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_says_why(name: str) -> None:
    value, message = BAD[name]
    with pytest.raises(BadRowError, match=message):
        _processor().encode({"image": value})


def test_auto_size_is_the_median_shorter_side() -> None:
    sizes = {4: 8, 28: 28, 64: 64, 65: 64, 100: 96, 224: 224, 4000: 224}
    assert [auto_size([side], *ImageProcessor.auto_sizes) for side in sizes] == list(sizes.values())
    assert auto_size([32, 500, 32], 8, 224) == 32


def test_fit_reads_at_most_256_rows_and_skips_bad_ones() -> None:
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
    with pytest.raises(SourceError, match=r"no readable image among the 1 rows that were tried .*not an image file"):
        ImageProcessor().fit([{"image": b"bad"}])
    with pytest.raises(ValueError, match="has not been fitted"):
        ImageProcessor().info()


def test_processor_is_saved_and_loaded(tmp_path: Path) -> None:
    processor = ImageProcessor().fit([_row(36, 50)])
    processor.save(tmp_path)
    again = ImageProcessor.load(tmp_path)
    assert again.info() == processor.info() == {"image_size": 36, "channels": 3}
    assert (again.config, again.kept_side, again.keeps_aspects) == (processor.config, 36, True)
    # A file from before images were kept whole.
    again.restore({key: value for key, value in processor.fitted().items() if key not in ("kept_side", "keeps_aspects")})
    assert (again.kept_side, again.keeps_aspects) == (36, False)
    next(tmp_path.iterdir()).write_text("{}")
    with pytest.raises(ArtifactError, match="not a saved image processor"):
        ImageProcessor.load(tmp_path)


def test_image_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"8\.\.4096"):
        _processor(3)
    assert _processor("32").config.image_size == 32


def _row(height: int, width: int) -> dict[str, Any]:
    return {"image": _pixels(height, width)}


@pytest.mark.parametrize(
    ("sizes", "options", "kept", "aspects"),
    [
        ([(500, 375)], {}, 256, True),
        ([(300, 300)], {"image_size": 224}, 256, False),
        ([(240, 240)], {"image_size": 224}, 240, False),
        ([(100, 100)], {"image_size": 224}, 224, False),
        ([(32, 32)], {}, 32, False),
        ([(28, 28), (28, 30)], {}, 28, True),
        ([(500, 375)], {"max_aspect": 1.0, "margin": 1.0}, 224, False),
        ([(500, 375)], {"margin": 1.5}, 336, True),
    ],
)
def test_what_is_kept_of_images(sizes: list[tuple[int, int]], options: dict[str, Any], kept: int, aspects: bool) -> None:
    processor = ImageProcessor(ImageProcessorConfig(**options)).fit([_row(*size) for size in sizes])
    assert (processor.kept_side, processor.keeps_aspects) == (kept, aspects)


def test_square_images_of_the_wanted_size_are_not_copied() -> None:
    rows = [_row(32, 32)] * 3
    processor = ImageProcessor().fit(rows)
    samples = stack_samples([processor.encode(row) for row in rows])
    assert samples.keys() == {"image"}
    batch = processor.collate(samples)
    assert batch.keys() == processor.collate_whole(samples).keys() == {"image"}
    assert batch["image"].data_ptr() == samples["image"].data_ptr()  # type: ignore[union-attr]  # one shape
    assert np.array_equal(batch["image"][0].numpy().transpose(1, 2, 0), _pixels(32, 32))


def test_images_are_kept_whole_and_evaluation_sees_their_centre() -> None:
    rows = [_row(70, 60), _row(60, 200), _row(300, 60), _row(60, 60)]
    processor = _processor(56).fit(rows)
    assert processor.kept_side == 60
    samples = stack_samples([processor.encode(row) for row in rows])
    whole = processor.collate_whole(samples)
    assert whole["size"].tolist() == [[70, 60], [60, 120], [120, 60], [60, 60]]
    assert whole["image"].shape == (4, 3, 120, 60)
    for place, (row, (height, width)) in enumerate(zip(rows, whole["size"].tolist(), strict=True)):
        stored = whole["image"][place, :, : max(height, width)]
        shown = (stored.transpose(1, 2) if width > height else stored).permute(1, 2, 0).numpy()
        full = row["image"]
        top, left = (full.shape[0] - height) // 2, (full.shape[1] - width) // 2
        assert np.array_equal(shown, full[top : top + height, left : left + width])
        assert not whole["image"][place, :, max(height, width) :].any()
        top, left = (height - 56) // 2, (width - 56) // 2
        seen = processor(rows)["image"][place].numpy().transpose(1, 2, 0)
        assert np.array_equal(seen, shown[top : top + 56, left : left + 56])


def test_the_store_gives_training_whole_images_and_evaluation_their_centre(tmp_path: Path) -> None:
    rows = [_row(70, 60), _row(60, 200), _row(300, 60), _row(60, 60)]
    processor = _processor(56).fit(rows)
    writer = StoreWriter(tmp_path)
    for number, row in enumerate(rows):
        writer.add(number, processor.encode(row))
    writer.finish(source_rows=4, bad_rows=[], fingerprint="", processor="")
    store = Store(tmp_path)
    assert shown_lengths(store, processor) is None
    sampler = EpochSampler(4, 4, shuffle=False)
    seen = next(iter(Loader(store, processor, sampler).epoch(0)))
    assert seen.keys() == {"image"}
    assert torch.equal(seen["image"], processor(rows)["image"])
    whole = next(iter(Loader(store, processor, sampler, whole=True, window_seed=0).epoch(0)))
    expected = processor.collate_whole(stack_samples([processor.encode(row) for row in rows]))
    assert all(torch.equal(whole[key], expected[key]) for key in ("image", "size"))


def test_training_crops_from_beyond_the_centre_square() -> None:
    """Wide images that are black except at their ends: the centre square shows nothing."""
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[:, :15] = image[:, 65:] = 255
    processor = _processor().fit([{"image": image}])
    samples = stack_samples([processor.encode({"image": image})] * 64)
    views = ImageViews(ImageViewsConfig(jitter_p=0.0, grey_p=0.0), processor.info())
    whole, centre = (
        views(collate(samples), torch.Generator().manual_seed(0))[0]["image"].amax(dim=(1, 2, 3)) > 0.5
        for collate in (processor.collate_whole, processor.collate)
    )
    assert float(whole.float().mean()) > 0.5
    assert not bool(centre.any())


def test_a_run_on_photos_of_different_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretraining and fine-tuning crop from whole images."""
    generator = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            height, width = generator.integers(30, 40), generator.integers(30, 80)
            pixels = generator.integers(0, 100, (height, width, 3)).astype(np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    seen: list[Any] = []
    collate = ImageProcessor.collate_whole
    monkeypatch.setattr(ImageProcessor, "collate_whole", lambda self, samples: seen.append(1) or collate(self, samples))
    small = {"backbone.width": 8, "objective.hidden_dim": 16, "objective.output_dim": 8, "processor.image_size": 24}
    run = selfsup.pretrain(
        "vision/simclr", data=str(tmp_path / "photos"), out=tmp_path / "run", steps=2, batch_size=8, precision="32",
        overrides=small,
    )  # fmt: skip
    trained = len(seen)
    assert trained >= 2
    (record,) = selfsup.evaluate(
        selfsup.load(run.dir), data=str(tmp_path / "photos"), evaluators=["finetune"],
        options={"finetune": {"min_steps": 2, "epochs": 1}},
    )  # fmt: skip
    assert record.metrics["accuracy"] > 0.8
    assert len(seen) > trained


def test_images_of_more_pixels_than_allowed_are_bad_rows() -> None:
    value = _encoded(Image.fromarray(_pixels(30, 40)))
    processor = _processor(16, max_pixels=1199)
    with pytest.raises(BadRowError, match=r"the header states 40 x 30 pixels, more than 1,199 \(processor\.max_pixels\)"):
        processor.encode({"image": value})
    assert _processor(16, max_pixels=1200).encode({"image": value})["image"].shape == (3, 16, 16)
