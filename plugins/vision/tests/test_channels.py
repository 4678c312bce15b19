"""Images of other channels than red, green and blue: from the file to every backbone and task."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import v2

import selfsup
from selfsup.errors import BadRowError, ConfigError, SourceError
from selfsup_images.color import Jitter, jitter_
from selfsup_vision.augmentations import ImageViews, ImageViewsConfig
from selfsup_vision.backbones.small import (
    CifarResNetConfig,
    NarrowResNetConfig,
    TinyViTConfig,
    build_cifar_resnet,
    build_narrow_resnet,
    build_tiny_vit,
)
from selfsup_vision.backbones.timm import TimmConfig, build_timm
from selfsup_vision.corruptions.colorization import ColorizationConfig, build_colorization
from selfsup_vision.decoding import Raster, opened, raster_of_array
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig

Array = np.ndarray[Any, Any]


def _pixels(channels: int, dtype: str = "uint8", height: int = 20, width: int = 16) -> Array:
    return (np.random.default_rng(channels).random((height, width, channels)) * 200).astype(dtype)


def _tiff(pixels: Array, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 13])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_every_tiff_is_read_whole(dtype: str, channels: int, planar: str, order: Any) -> None:
    pixels = _pixels(channels, dtype)
    options = {"byteorder": order, "photometric": "rgb" if channels == 3 else "minisblack"}
    written = pixels[:, :, 0] if channels == 1 else pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
    if channels > 1:
        options["planarconfig"] = planar
    for compression in (None, "zlib"):
        with opened(_tiff(written, compression=compression, **options)) as image:
            if isinstance(image, Image.Image):  # of 8 bits, and grey or colour
                assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
                assert dtype == "uint8"
                assert channels in (1, 3)
            else:
                assert np.array_equal(image.values, pixels)
                assert not image.alpha


@pytest.mark.parametrize("orientation", range(1, 9))
def test_wide_tiffs_are_turned_as_they_say(orientation: int) -> None:
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    for channels in (1, 3, 5):
        pixels = _pixels(channels, "uint16")
        first = Image.fromarray(pixels[..., 0].astype(np.int32))
        upright = first.transpose(turns[orientation]) if orientation in turns else first  # type: ignore[arg-type]  # an enum
        options = {"photometric": "rgb" if channels == 3 else "minisblack"}
        planar = {} if channels == 1 else {"planarconfig": "contig"}
        content = _tiff(
            pixels[..., 0] if channels == 1 else pixels, extratags=[(274, "H", 1, orientation, True)], **options, **planar
        )
        with opened(content) as image:
            assert isinstance(image, Raster)
            assert np.array_equal(image.values[..., 0], np.asarray(upright))


def test_pages_are_channels_where_someone_says_so() -> None:
    stack = np.moveaxis(_pixels(5), 2, 0)
    pages = _tiff(stack, photometric="minisblack")
    row = {"image": pages}
    processor = ImageProcessor(ImageProcessorConfig(image_size=16, margin=1, channels=5)).fit([row])
    assert processor([row])["image"].shape == (1, 5, 16, 16)
    first = ImageProcessor(ImageProcessorConfig(image_size=16)).fit([row])
    assert first.info()["channels"] == 3
    assert "1 of 1 files have several pages or frames; the first is taken" in first.findings().facts["pages"]
    with opened(_tiff(stack.astype(np.uint16), imagej=True, metadata={"axes": "CYX"})) as image:
        assert isinstance(image, Raster)
        assert np.array_equal(image.values, np.moveaxis(stack, 0, 2))
    with opened(_tiff(stack.astype(np.uint16), imagej=True, metadata={"axes": "TYX"})) as image:
        assert isinstance(image, Raster)
        assert np.array_equal(image.values[..., 0], stack[0])


@pytest.mark.parametrize(
    ("shape", "options", "channels"),
    [
        ((9, 9), {}, 1),
        ((9, 9, 1), {}, 1),
        ((1, 9, 9), {}, 1),
        ((9, 9, 5), {}, 5),
        ((5, 9, 9), {}, 5),
        ((3, 9, 9), {}, 3),
        ((28, 28, 3), {}, 3),
        ((3, 5, 4), {"layout": "channels-last"}, 4),
        ((99, 99, 90), {"channels": 90}, 90),
        ((90, 99, 99), {"channels": 90}, 90),
        ((9, 9, 9), {"layout": "channels-first"}, 9),
    ],
)
def test_channels_of_an_array_are_told_apart(shape: tuple[int, ...], options: dict[str, Any], channels: int) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    assert raster_of_array(array, **options).channels == channels


def test_four_channels_are_colours_and_opacity_unless_they_are_set() -> None:
    clear = np.zeros((8, 8, 4), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(clear).save(encoded, "PNG")
    for value in (clear, encoded.getvalue()):
        rows = [{"image": value}]
        shown = ImageProcessor(ImageProcessorConfig(image_size=8)).fit(rows)
        assert (shown(rows)["image"] == 255).all()
        assert "1 of 1 images have it" in shown.findings().facts["transparency"]
        kept = ImageProcessor(ImageProcessorConfig(image_size=8, channels=4)).fit(rows)
        assert kept(rows)["image"].shape == (1, 4, 8, 8)
        assert not kept(rows)["image"].any()


def test_channels_are_those_of_most_rows_and_others_are_bad(tmp_path: Path) -> None:
    rows = [{"image": _pixels(n)} for n in (5, 5, 3)]
    processor = ImageProcessor(ImageProcessorConfig(image_size=8)).fit(rows)
    assert dict(processor.info()) == {"image_size": 8, "channels": 5}
    assert "1 of 3 images have other channels than 5 (1 have 3)" in processor.findings().warnings[0]
    processor.save(tmp_path)
    batch = ImageProcessor.load(tmp_path)(rows[:2])
    assert batch["image"].shape == (2, 5, 8, 8)
    with pytest.raises(BadRowError, match=r"has 3 channels, and the processor takes 5 \(processor.channels\)"):
        processor.encode(rows[2])
    assert ImageProcessor().fit([{"image": _pixels(3)}, {"image": _pixels(5)}]).info()["channels"] == 3


def test_each_channel_is_resized_as_a_grey_image() -> None:
    pixels = _pixels(5, height=32, width=32)
    processor = ImageProcessor(ImageProcessorConfig(image_size=12)).fit([{"image": pixels}])
    for place in range(5):
        grey = Image.fromarray(pixels[..., place]).resize((processor.kept_side,) * 2, Image.Resampling.BILINEAR)
        kept = processor.encode({"image": pixels})["image"][place]
        assert np.abs(kept.astype(int) - np.asarray(grey)).max() <= 1


def test_one_channel_on_demand() -> None:
    processor = ImageProcessor(ImageProcessorConfig(image_size=16, margin=1, channels=1))
    rows = [{"image": _pixels(3)}, {"image": _pixels(1)[..., 0]}, {"image": _pixels(3, "uint16")}]
    batch = processor.fit(rows)(rows[:2])
    assert batch["image"].shape == (2, 1, 16, 16)
    grey = np.asarray(Image.fromarray(_pixels(3)).convert("L"))
    assert np.array_equal(batch["image"][0, 0].numpy(), grey[2:18])
    assert np.array_equal(batch["image"][1, 0].numpy(), _pixels(1)[2:18, :, 0])


def test_without_tifffile_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    content = _tiff(_pixels(7), photometric="minisblack", planarconfig="contig")
    with pytest.raises(SourceError, match=r"no readable image .*pip install 'selfsup-vision\[tiff\]'"):
        ImageProcessor().fit([{"image": content}])
    # What most have works without: grey and colours of 16 bits.
    for channels in (1, 3):
        pixels = _pixels(channels, "uint16")
        photometric: Any = "rgb" if channels == 3 else "minisblack"
        with opened(_tiff(pixels[..., 0] if channels == 1 else pixels, photometric=photometric)) as image:
            assert isinstance(image, Raster)
            assert np.array_equal(image.values, pixels)


BACKBONES = {
    "resnet-narrow": lambda info: build_narrow_resnet(NarrowResNetConfig(width=8), info),
    "resnet18-cifar": lambda info: build_cifar_resnet(CifarResNetConfig(), info),
    "vit-tiny": lambda info: build_tiny_vit(TinyViTConfig(depth=1), info),
    "timm/test_vit": lambda info: build_timm(TimmConfig(name="test_vit"), info),
    "timm/test_resnet": lambda info: build_timm(TimmConfig(name="test_resnet"), info),
    "timm/test_convnext": lambda info: build_timm(TimmConfig(name="test_convnext"), info),
}


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_takes_them_and_is_exported(name: str, channels: int) -> None:
    backbone = BACKBONES[name]({"image_size": 32, "channels": channels}).eval()
    images = torch.randint(0, 256, (2, channels, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        pooled = backbone({"image": images}).pooled
        metadata = backbone.export_metadata("timm")
        names: dict[str, Any] = {}
        exec(metadata["code"], names)
        plain = names["model"].eval()
        plain.load_state_dict(backbone.export_state("timm"))
        mean, std = (torch.tensor(json.loads(metadata[key])).view(1, -1, 1, 1) for key in ("mean", "std"))
        assert mean.numel() == channels
        features = plain((images / 255 - mean) / std)
    assert pooled.shape == (2, backbone.embed_dim)
    if name != "timm/test_vit":  # that is pooled otherwise than by plain timm
        torch.testing.assert_close(pooled, features, atol=1e-4, rtol=1e-4)


def test_weights_for_rgb_are_adapted_to_other_channels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = timm.create_model("test_resnet", num_classes=0).eval()
    save_file(plain.state_dict(), tmp_path / "weights.safetensors")
    config = TimmConfig(name="test_resnet", checkpoint=str(tmp_path / "weights.safetensors"))
    grey = build_timm(config, {"image_size": 32, "channels": 1}).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        # Summed over red, green and blue: what RGB weights make of three times the same grey, but for the normalisation.
        expected = plain(((images - grey._mean) / grey._std).expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey({"image": images}).pooled, expected, atol=1e-5, rtol=1e-5)
    six = build_timm(config, {"image_size": 32, "channels": 6})
    stem, own = six.export_state("timm")["conv1.0.weight"], plain.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(stem, own.repeat(1, 2, 1, 1) / 2)


def test_views_change_what_has_a_meaning_and_say_what_has_none() -> None:
    config = ImageViewsConfig(blur_p=(1.0,), solarize_p=(0.5,), global_scale=(1, 1), ratio=(1, 1), flip_p=0, jitter_p=1.0)
    images = torch.rand(64, 5, 72, 72)
    views = ImageViews(config, {"image_size": 72, "channels": 5})
    assert "Views change no saturation, hue, greyscale: images with 5 channels have no colours." in views.note
    view = views({"image": images}, torch.Generator().manual_seed(0))[0]["image"]
    assert view.shape == images.shape
    assert not torch.equal(view, images)
    assert ImageViews(config, {"image_size": 72, "channels": 3}).note == ""
    off = ImageViewsConfig(jitter_p=0.0, grey_p=0.0)
    assert ImageViews(off, {"image_size": 72, "channels": 5}).note == ""


def test_brightness_and_contrast_of_one_channel_equal_torchvision() -> None:
    images = torch.rand(4, 1, 9, 9)
    factors = torch.tensor([[1.5, 0.5, 1.0, 0.0]]).repeat(4, 1)
    jitter = Jitter(factors, torch.arange(4).repeat(4, 1), torch.ones(4, dtype=torch.bool))
    changed = jitter_(images.clone(), jitter, hue=False)
    for before, after in zip(images, changed, strict=True):
        expected = v2.functional.adjust_contrast(v2.functional.adjust_brightness(before, 1.5), 0.5)
        torch.testing.assert_close(after, expected, atol=1e-6, rtol=1e-6)


def test_colorization_needs_colours() -> None:
    with pytest.raises(ConfigError, match=r"these images have 5 channels \(processor.channels\): choose another task"):
        build_colorization(ColorizationConfig(), {"image_size": 32, "channels": 5})


SMALL = {
    "simclr": {"backbone.width": 8, "objective.hidden_dim": 16, "objective.output_dim": 8},
    "mae": {
        "backbone.depth": 1,
        "backbone.embed_dim": 32,
        "backbone.heads": 1,
        "task.decoder_dim": 16,
        "task.decoder_depth": 1,
    },
    "jigsaw": {"backbone.width": 8, "transformation.n_permutations": 4, "task.head_dims": [8]},
    "patch-position": {"backbone.width": 8},
    "inpainting": {"backbone.width": 8},
    "denoising-autoencoder": {"backbone.width": 8},
    "rotation": {"backbone.width": 8},
    "supervised": {"backbone.width": 8},
}


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_task_trains_on_them(name: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    for number in range(8):
        path = tmp_path / "rows" / f"class{number % 2}" / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(number).integers(0, 4096, (24, 24, channels)).astype(np.uint16))
    run = selfsup.pretrain(
        f"vision/{name}", data=str(tmp_path / "rows"), out=tmp_path / "run", steps=1, batch_size=4, precision="32",
        overrides={**SMALL[name], "processor.channels": channels}, progress=False,
    )  # fmt: skip
    assert np.isfinite(run.metrics[-1]["loss"])
    if name == "simclr":
        assert selfsup.export(run.encoder, "torch-export", tmp_path / "model.pt2").exists()
    embedded = run.encoder.embed([{"image": np.zeros((24, 24, channels), dtype=np.uint16)}])
    assert embedded.shape == (1, run.encoder.embed_dim)
