"""Images with channels other than red, green and blue, from the file to a run."""

import io
from itertools import product
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torchvision.transforms import v2

import selfsup
from selfsup.errors import BadRowError, SourceError
from selfsup_images.color import Jitter, jitter_
from selfsup_vision.augmentations import ImageViews, ImageViewsConfig
from selfsup_vision.decoding import Raster, opened, raster_of_array
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig


def _pixels(channels: int, dtype: str = "uint8", height: int = 20, width: int = 16) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(channels).random((height, width, channels)) * 200).astype(dtype)


def _tiff(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    """A TIFF file of [H, W, C]; with one channel it has no axis of channels."""
    stream = io.BytesIO()
    options = {"photometric": "rgb" if pixels.shape[2] == 3 else "minisblack", **options}
    if pixels.shape[2] > 1:
        options = {"planarconfig": "contig", **options}
    written = np.moveaxis(pixels, 2, 0) if options.get("planarconfig") == "separate" else pixels
    tifffile.imwrite(stream, written if pixels.shape[2] > 1 else pixels[:, :, 0], **options)
    return stream.getvalue()


def _processor(**options: Any) -> ImageProcessor:
    return ImageProcessor(ImageProcessorConfig(**options))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_every_tiff_is_read_whole(dtype):
    for channels, planar, order, compression in product((1, 2, 3, 4, 5, 13), ("contig", "separate"), "<>", (None, "zlib")):
        pixels = _pixels(channels, dtype)
        options = {"planarconfig": planar} if channels > 1 else {}
        with opened(_tiff(pixels, byteorder=order, compression=compression, **options)) as image:
            if isinstance(image, Image.Image):  # 8 bits, and grey or colour
                assert (dtype, channels in (1, 3)) == ("uint8", True)
                assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
            else:
                assert np.array_equal(image.values, pixels)
                assert not image.alpha


@pytest.mark.parametrize("orientation", range(1, 9))
def test_wide_tiffs_are_turned_as_they_say(orientation):
    turns: dict[int, Any] = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    for channels in (1, 3, 5):
        pixels = _pixels(channels, "uint16")
        first = Image.fromarray(pixels[..., 0].astype(np.int32))
        upright = first.transpose(turns[orientation]) if orientation in turns else first
        with opened(_tiff(pixels, extratags=[(274, "H", 1, orientation, True)])) as image:
            assert isinstance(image, Raster)
            assert np.array_equal(image.values[..., 0], np.asarray(upright))


def test_pages_are_channels_where_the_user_or_the_file_says_so():
    stack = np.moveaxis(_pixels(5), 2, 0)

    def pages(values, **options):
        stream = io.BytesIO()
        tifffile.imwrite(stream, values, **options)
        return stream.getvalue()

    row = {"image": pages(stack, photometric="minisblack")}
    assert _processor(image_size=16, margin=1, channels=5).fit([row])([row])["image"].shape == (1, 5, 16, 16)
    first = _processor(image_size=16).fit([row])
    assert first.info()["channels"] == 3
    assert "1 of 1 files have several pages" in first.findings().facts["pages"]
    for axes, expected in (("CYX", np.moveaxis(stack, 0, 2)), ("TYX", stack[0][:, :, None])):
        with opened(pages(stack.astype(np.uint16), imagej=True, metadata={"axes": axes})) as image:
            assert isinstance(image, Raster)
            assert np.array_equal(image.values, expected)


@pytest.mark.parametrize(
    ("shape", "options", "channels"),
    [
        ((9, 9), {}, 1), ((9, 9, 1), {}, 1), ((1, 9, 9), {}, 1), ((9, 9, 5), {}, 5), ((5, 9, 9), {}, 5), ((3, 9, 9), {}, 3),
        ((28, 28, 3), {}, 3), ((3, 5, 4), {"layout": "channels-last"}, 4), ((99, 99, 90), {"channels": 90}, 90),
        ((90, 99, 99), {"channels": 90}, 90), ((9, 9, 9), {"layout": "channels-first"}, 9),
    ],
)  # fmt: skip
def test_the_axis_of_channels_is_found(shape, options, channels):
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    assert raster_of_array(array, **options).channels == channels


def test_four_channels_are_colours_and_opacity_unless_they_are_set():
    clear = np.zeros((8, 8, 4), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(clear).save(encoded, "PNG")
    for value in (clear, encoded.getvalue()):
        rows = [{"image": value}]
        shown = _processor(image_size=8).fit(rows)
        assert (shown(rows)["image"] == 255).all()
        assert "1 of 1 images" in shown.findings().facts["transparency"]
        kept = _processor(image_size=8, channels=4).fit(rows)(rows)["image"]
        assert kept.shape == (1, 4, 8, 8)
        assert not kept.any()


def test_channels_are_those_of_most_rows_and_others_are_bad(tmp_path):
    rows = [{"image": _pixels(n)} for n in (5, 5, 3)]
    processor = _processor(image_size=8).fit(rows)
    assert dict(processor.info()) == {"image_size": 8, "channels": 5}
    assert "1 of 3 images" in processor.findings().warnings[0]
    processor.save(tmp_path)
    assert ImageProcessor.load(tmp_path)(rows[:2])["image"].shape == (2, 5, 8, 8)
    with pytest.raises(BadRowError, match=r"has 3 channels, and the processor takes 5 \(processor.channels\)"):
        processor.encode(rows[2])
    assert ImageProcessor().fit([{"image": _pixels(3)}, {"image": _pixels(5)}]).info()["channels"] == 3


def test_each_channel_is_resized_as_a_grey_image():
    pixels = _pixels(5, height=32, width=32)
    processor = _processor(image_size=12).fit([{"image": pixels}])
    for place in range(5):
        grey = Image.fromarray(pixels[..., place]).resize((processor.kept_side,) * 2, Image.Resampling.BILINEAR)
        kept = processor.encode({"image": pixels})["image"][place]
        assert np.abs(kept.astype(int) - np.asarray(grey)).max() <= 1


def test_one_channel_can_be_asked_for():
    processor = _processor(image_size=16, margin=1, channels=1)
    rows = [{"image": _pixels(3)}, {"image": _pixels(1)[..., 0]}, {"image": _pixels(3, "uint16")}]
    batch = processor.fit(rows)(rows[:2])
    assert batch["image"].shape == (2, 1, 16, 16)
    grey = np.asarray(Image.fromarray(_pixels(3)).convert("L"))
    assert np.array_equal(batch["image"][0, 0].numpy(), grey[2:18])
    assert np.array_equal(batch["image"][1, 0].numpy(), _pixels(1)[2:18, :, 0])


def test_without_tifffile_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(SourceError, match=r"no readable image .*pip install 'selfsup-vision\[tiff\]'"):
        ImageProcessor().fit([{"image": _tiff(_pixels(7))}])
    # Grey and colours of 16 bits need it not.
    for channels in (1, 3):
        with opened(_tiff(_pixels(channels, "uint16"))) as image:
            assert isinstance(image, Raster)
            assert np.array_equal(image.values, _pixels(channels, "uint16"))


def test_views_leave_out_what_needs_colours_and_say_so(seeded):
    config = ImageViewsConfig(blur_p=(1.0,), solarize_p=(0.5,), global_scale=(1, 1), ratio=(1, 1), flip_p=0, jitter_p=1.0)
    images = torch.rand(8, 5, 72, 72)
    views = ImageViews(config, {"image_size": 72, "channels": 5})
    assert "no saturation, hue, greyscale: images with 5 channels have no colours" in views.note
    view = views({"image": images}, seeded())[0]["image"]
    assert view.shape == images.shape
    assert not torch.equal(view, images)
    assert ImageViews(config, {"image_size": 72, "channels": 3}).note == ""
    assert ImageViews(ImageViewsConfig(jitter_p=0.0, grey_p=0.0), {"image_size": 72, "channels": 5}).note == ""


def test_brightness_and_contrast_of_one_channel_equal_torchvision():
    images = torch.rand(4, 1, 9, 9)
    factors = torch.tensor([[1.5, 0.5, 1.0, 0.0]]).repeat(4, 1)
    jitter = Jitter(factors, torch.arange(4).repeat(4, 1), torch.ones(4, dtype=torch.bool))
    changed = jitter_(images.clone(), jitter, hue=False)
    for before, after in zip(images, changed, strict=True):
        expected = v2.functional.adjust_contrast(v2.functional.adjust_brightness(before, 1.5), 0.5)
        torch.testing.assert_close(after, expected, atol=1e-6, rtol=1e-6)


def test_a_run_on_five_channels(tmp_path):
    (tmp_path / "rows").mkdir()
    for number in range(8):
        np.save(
            tmp_path / "rows" / f"{number}.npy", np.random.default_rng(number).integers(0, 4096, (24, 24, 5)).astype(np.uint16)
        )
    run = selfsup.pretrain(
        "vision/simclr", data=str(tmp_path / "rows"), out=tmp_path / "run", steps=1, batch_size=4, precision="32",
        overrides={"backbone.width": 8, "objective.hidden_dim": 16, "objective.output_dim": 8, "processor.channels": 5},
        progress=False,
    )  # fmt: skip
    assert np.isfinite(run.metrics[-1]["loss"])
    assert selfsup.export(run.encoder, "torch-export", tmp_path / "model.pt2").exists()
    embedded = run.encoder.embed([{"image": np.zeros((24, 24, 5), dtype=np.uint16)}])
    assert embedded.shape == (1, run.encoder.embed_dim)
