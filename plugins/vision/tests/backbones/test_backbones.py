import json
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from selfsup.backbones import Backbone, TokenBackbone, unfreeze
from selfsup.errors import ArtifactError, ConfigError, UnknownIdError
from selfsup.tasks.parts.transformer import lattice_positions
from selfsup.training.run.resolve import resolve_config
from selfsup.training.run.setup import pretrained_note
from selfsup_vision.backbones import ViTBackbone
from selfsup_vision.backbones.small import (
    CifarResNetConfig,
    NarrowResNetConfig,
    TinyViTConfig,
    build_cifar_resnet,
    build_narrow_resnet,
    build_tiny_vit,
)
from selfsup_vision.backbones.timm import TimmConfig, build_timm
from selfsup_vision.backbones.vit import patches
from selfsup_vision.sizes import local_size_for, patch_size_for

VITS = ["test_vit", "test_vit2", "test_vit3"]
"""timm's test models: with class token, with registers, with class and registers; two of them pool otherwise."""


def _images(size: int, n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _timm(name: str, size: int = 32, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return build_timm(TimmConfig(name=name, **options), {"image_size": size}).eval()


@pytest.mark.parametrize(
    ("name", "size", "crop"),
    [("resnet50.a1_in1k", 224, 0.95), ("test_vit.r160_in1k", 160, 0.95), ("tf_efficientnet_b3", 300, 0.904)],
)
def test_the_input_of_pretrained_weights_comes_along(name, size, crop):
    options = {"task": "vision/simclr", "data": "photos/", "backbone": f"timm/{name}"}
    assert resolve_config(options).processor_options["image_size"] == "auto"
    pretrained = {**options, "backbone.pretrained": True}
    own = resolve_config(pretrained).processor_options
    assert own["image_size"] == size
    assert own["margin"] == pytest.approx(1 / crop, abs=1e-4)  # evaluation sees as much of an image as theirs
    assert resolve_config({**pretrained, "processor.image_size": 32}).processor_options["image_size"] == 32


def test_what_comes_with_pretrained_weights_is_said():
    options = {"task": "vision/simclr", "data": "photos/", "backbone": "timm/test_vit"}
    backbone = _timm("test_vit", 160)
    assert pretrained_note(resolve_config(options), backbone) == ""
    pretrained = {**options, "backbone.pretrained": True}
    said = pretrained_note(resolve_config(pretrained), backbone)
    assert said == (
        "With the pretrained weights come processor.image_size=160, processor.margin=1.0526, channels are scaled by mean "
        "[0.5, 0.5, 0.5] and deviation [0.5, 0.5, 0.5]."
    )
    other = pretrained_note(resolve_config({**pretrained, "processor.image_size": 32}), backbone)
    assert other.endswith("The weights were trained with other settings than these: processor.image_size=32 (theirs: 160).")


def _plain(backbone: Any) -> tuple[Any, dict[str, str]]:
    """The exported weights in a network that plain timm made."""
    metadata = backbone.export_metadata("timm")
    model = timm.create_model(metadata["architecture"], num_classes=0, **json.loads(metadata["kwargs"]))
    model.load_state_dict(backbone.export_state("timm"))
    return model.eval(), metadata


def _normalized(images: torch.Tensor, metadata: dict[str, str]) -> torch.Tensor:
    mean, std = (torch.tensor(json.loads(metadata[key])).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (images / 255 - mean) / std


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize("pool", ["avg", "timm"])
def test_vit_equals_timm(name: str, pool: str) -> None:
    backbone = _timm(name, pool=pool)
    assert isinstance(backbone, ViTBackbone)
    images = _images(32)
    with torch.no_grad():
        model, metadata = _plain(backbone)
        features = model.forward_features(_normalized(images, metadata))
        encoded = backbone({"image": images})
        tokens = backbone.encode(backbone.tokenize({"image": images}))
        pooled = model(_normalized(images, metadata))
    torch.testing.assert_close(tokens, features[:, model.num_prefix_tokens :], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoded.tokens, tokens)
    torch.testing.assert_close(encoded.pooled, pooled, atol=1e-5, rtol=1e-5)
    assert encoded.grid == (8, 8)


@pytest.mark.parametrize("name", VITS)
def test_vit_keeps_only_the_tokens_that_it_is_told_to(name: str) -> None:
    backbone = _timm(name)
    assert isinstance(backbone, TokenBackbone)
    tokens = backbone.tokenize({"image": _images(32)})
    everything = torch.arange(64).expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode(tokens, keep=everything), backbone.encode(tokens))
        keep = torch.stack([torch.randperm(64)[:10] for _ in range(2)])
        part = backbone.encode(tokens, keep=keep)
        other = tokens.embeddings.clone()
        hidden = torch.ones(2, 64, dtype=torch.bool).scatter(1, keep, False)
        other[hidden] = 7.0
        again = backbone.encode(tokens.__class__(other, tokens.positions, tokens.grid), keep=keep)
    assert part.shape == (2, 10, backbone.embed_dim)
    assert torch.equal(part, again)


def test_vit_layer_outputs_end_with_what_encode_gives() -> None:
    backbone = _timm("test_vit")
    assert isinstance(backbone, ViTBackbone)
    tokens = backbone.tokenize({"image": _images(32)})
    with torch.no_grad():
        outputs = backbone.layer_outputs(tokens)
        torch.testing.assert_close(outputs[-1], backbone.encode(tokens))
    assert len(outputs) == len(backbone.model.blocks)
    assert {tuple(output.shape) for output in outputs} == {(2, 64, backbone.embed_dim)}


def test_vit_takes_other_sizes_and_refuses_those_it_cannot_cut() -> None:
    backbone = build_tiny_vit(TinyViTConfig(embed_dim=16, depth=1, heads=2), {"image_size": 32})
    assert backbone({"image": _images(16)}).grid == (4, 4)
    with pytest.raises(ConfigError, match="30x30 pixels cannot be cut into patches of 4"):
        backbone({"image": _images(30)})


def test_targets_are_the_normalised_pixels_of_each_patch() -> None:
    backbone = build_tiny_vit(TinyViTConfig(embed_dim=16, depth=1, heads=2), {"image_size": 16})
    images = _images(16)
    targets = backbone.targets({"image": images})
    whole = backbone.normalized({"image": images})
    p = backbone.patch_size
    assert targets.shape == (2, 64, p * p * 3) == (2, 64, backbone.target_dim)
    torch.testing.assert_close(targets[1, 9].view(p, p, 3), whole[1, :, p : 2 * p, p : 2 * p].permute(1, 2, 0))
    assert not targets.requires_grad
    assert patches(whole, 4).shape == (2, 16, 48)


def test_uint8_and_float_images_are_normalised_alike() -> None:
    backbone = build_narrow_resnet(NarrowResNetConfig(width=8), {"image_size": 16}).eval()
    images = _images(16)
    with torch.no_grad():
        a, b = backbone({"image": images}).pooled, backbone({"image": images / 255}).pooled
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


SMALL = {
    "resnet18-cifar": (build_cifar_resnet, CifarResNetConfig(), 32, (4, 4), 512),
    "resnet-narrow-32": (build_narrow_resnet, NarrowResNetConfig(width=8), 32, (4, 4), 64),
    "resnet-narrow-96": (build_narrow_resnet, NarrowResNetConfig(width=8, blocks=2), 96, (6, 6), 64),
    "resnet-narrow-160": (build_narrow_resnet, NarrowResNetConfig(width=8), 160, (5, 5), 64),
    "vit-tiny": (build_tiny_vit, TinyViTConfig(depth=1), 32, (8, 8), 192),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_backbones_and_their_export(name: str) -> None:
    build, config, size, grid, dim = SMALL[name]
    backbone = build(config, {"image_size": size}).eval()  # type: ignore[operator]
    images = _images(size)
    metadata = backbone.export_metadata("timm")
    namespace: dict[str, Any] = {}
    exec(metadata["code"], namespace)  # what the export tells its reader to do
    model = namespace["model"].eval()
    model.load_state_dict(backbone.export_state("timm"))
    with torch.no_grad():
        encoded = backbone({"image": images})
        torch.testing.assert_close(model(_normalized(images, metadata)), encoded.pooled, atol=1e-5, rtol=1e-5)
    assert encoded.grid == grid
    assert encoded.pooled.shape == (2, dim) == (2, backbone.embed_dim)
    assert encoded.tokens.shape == (2, grid[0] * grid[1], dim)


@pytest.mark.parametrize(("name", "size", "grid"), [
    ("test_resnet", 64, (2, 2)),
    ("test_efficientnet", 64, (2, 2)),
    ("test_convnext", 64, (2, 2)),
    ("swin_s3_tiny_224", 64, (2, 2)),
])  # fmt: skip
def test_other_timm_models_give_their_feature_map(name: str, size: int, grid: tuple[int, int]) -> None:
    backbone = _timm(name, size)
    images = _images(size)
    model, metadata = _plain(backbone)
    with torch.no_grad():
        encoded = backbone({"image": images})
        torch.testing.assert_close(encoded.pooled, model(_normalized(images, metadata)), atol=1e-5, rtol=1e-5)
        features = model.forward_features(_normalized(images, metadata))
    last = features if features.shape[-1] == backbone.embed_dim else features.permute(0, 2, 3, 1)
    assert encoded.tokens is not None
    torch.testing.assert_close(encoded.tokens.view(last.shape), last, atol=1e-5, rtol=1e-5)
    assert encoded.grid == grid
    assert not isinstance(backbone, TokenBackbone)


def test_a_head_that_widens_the_features_leaves_no_tokens() -> None:
    encoded = _timm("mobilenetv3_small_050", 32)({"image": _images(32)})
    assert encoded.tokens is None
    assert encoded.pooled.shape == (2, 1024)


def test_patches_shrink_for_small_images_and_stay_for_large_ones() -> None:
    assert _timm("vit_tiny_patch16_224", 32).patch_size == 4  # type: ignore[attr-defined]
    assert _timm("vit_tiny_patch16_224", 112).patch_size == 16  # type: ignore[attr-defined]
    assert _timm("vit_tiny_patch16_224", 32, patch_size=8).patch_size == 8  # type: ignore[attr-defined]


def test_default_sizes_fit_each_other() -> None:
    assert [patch_size_for(size) for size in (8, 16, 28, 32, 64, 96, 224, 30)] == [2, 2, 4, 4, 4, 8, 16, 5]
    assert [local_size_for(size) for size in (28, 32, 96, 224)] == [12, 12, 40, 96]
    assert all(local_size_for(size) % patch_size_for(size) == 0 for size in range(8, 300))


def test_a_checkpoint_is_loaded_and_its_classifier_passed_over(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=10)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    for file in ("weights.safetensors", "weights.pth"):
        backbone = _timm("test_resnet", checkpoint=str(tmp_path / file))
        loaded = backbone.state_dict()
        assert all(torch.equal(loaded[f"model.{k}"], v) for k, v in source.state_dict().items() if f"model.{k}" in loaded)


class _Spiteful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_bad_checkpoints_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": _Spiteful()}, tmp_path / "code.pth")
    with pytest.raises(ArtifactError, match="cannot be read as tensors"):
        _timm("test_resnet", checkpoint="code.pth")
    assert not (tmp_path / "ran").exists()
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ArtifactError, match="does not fit the model"):
        _timm("test_resnet", checkpoint="other.safetensors")


def test_bad_backbone_options_get_a_clear_error() -> None:
    with pytest.raises(UnknownIdError, match=r"has no model 'resnet81'\. Close: resnet"):
        _timm("resnet81")
    with pytest.raises(ConfigError, match="patch_size=5 does not divide the image size 32"):
        _timm("test_vit", patch_size=5)
    with pytest.raises(ConfigError, match="no plain vision transformer"):
        _timm("test_resnet", patch_size=4)
    with pytest.raises(ConfigError, match="heads=5 does not divide"):
        build_tiny_vit(TinyViTConfig(heads=5), {"image_size": 32})
    with pytest.raises(ArtifactError, match="no export format 'onnx2'; it has: timm"):
        _timm("test_resnet").export_state("onnx2")  # type: ignore[attr-defined]


def test_missing_network_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"no route to host.*backbone.checkpoint=PATH"):
        _timm("test_resnet", pretrained=True)


def test_fixed_positions_are_sines_and_cosines_of_the_lattice() -> None:
    tiny = build_tiny_vit(TinyViTConfig(embed_dim=16, depth=1, heads=1, patch_size=8, positions="sin-cos"), {"image_size": 32})
    positions = tiny.model.pos_embed
    assert positions is not None
    assert not positions.requires_grad
    for y in range(4):
        for x in range(4):
            rates = [10000 ** (-i / 4) for i in range(4)]
            expected = [f(place * rate) for place in (y, x) for f in (math.sin, math.cos) for rate in rates]
            assert positions[0, 4 * y + x].tolist() == pytest.approx(expected, abs=1e-6)
    learned = build_tiny_vit(TinyViTConfig(embed_dim=16, depth=1, heads=1, patch_size=8), {"image_size": 32})
    assert learned.model.pos_embed is not None
    assert learned.model.pos_embed.requires_grad
    with_class: Any = _timm("test_vit", positions="sin-cos")
    unfreeze(with_class)  # as fine-tuning does
    assert not with_class.model.pos_embed.requires_grad
    assert with_class.model.cls_token.requires_grad
    assert torch.count_nonzero(with_class.model.pos_embed[:, :1]) == 0
    assert torch.equal(with_class.model.pos_embed[0, 1:], lattice_positions(
        with_class.model.patch_embed.grid_size, with_class.embed_dim, torch.device("cpu")
    ))  # fmt: skip
    assert {name for name, p in tiny.named_parameters() if any(p is q for q in tiny.input_projection())} == {
        "model.patch_embed.proj.weight", "model.patch_embed.proj.bias",
    }  # fmt: skip
    assert build_narrow_resnet(NarrowResNetConfig(width=8), {"image_size": 32}).input_projection() == []
