import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.pos_embed import resample_abs_pos_embed

from selfsup.backbones import TokenBackbone, unfreeze
from selfsup.errors import ArtifactError, ConfigError, UnknownIdError
from selfsup.registry import registry
from selfsup.tasks.parts.transformer import lattice_positions
from selfsup.training.run.resolve import resolve_config
from selfsup.training.run.setup import pretrained_note
from selfsup_vision.backbones import ViTBackbone
from selfsup_vision.backbones.vit import patches, resampled_positions
from selfsup_vision.sizes import local_size_for, patch_size_for

VITS = ["timm/test_vit", "timm/test_vit2", "timm/test_vit3"]
"""timm's test models: with class token, with registers, with class and registers; two of them pool otherwise."""
TINY = {"embed_dim": 16, "depth": 1, "heads": 2}


def build(name: str, size: int = 32, channels: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone(name, options, {"image_size": size, "channels": channels})
    return backbone.eval()


def exported(backbone: Any) -> tuple[Any, Any]:
    """The network that the export's code builds, with the exported weights, and what normalises its input."""
    metadata = backbone.export_metadata("timm")
    namespace: dict[str, Any] = {}
    exec(metadata["code"], namespace)  # what the export tells its reader to do
    model = namespace["model"].eval()
    model.load_state_dict(backbone.export_state("timm"))
    mean, std = (torch.tensor(json.loads(metadata[key])).view(1, -1, 1, 1) for key in ("mean", "std"))
    return model, lambda images: (images / 255 - mean) / std


@pytest.mark.parametrize(
    ("name", "size", "crop"),
    [("test_vit.r160_in1k", 160, 0.95), ("tf_efficientnet_b3", 300, 0.904)],
)
def test_pretrained_weights_bring_their_image_size_and_crop(name, size, crop):
    options = {"task": "vision/simclr", "data": "photos/", "backbone": f"timm/{name}"}
    assert resolve_config(options).processor_options["image_size"] == "auto"
    pretrained = {**options, "backbone.pretrained": True}
    own = resolve_config(pretrained).processor_options
    assert own["image_size"] == size
    assert own["margin"] == pytest.approx(1 / crop, abs=1e-4)
    assert resolve_config({**pretrained, "processor.image_size": 32}).processor_options["image_size"] == 32


def test_the_note_on_pretrained_weights_names_what_comes_with_them():
    options = {"task": "vision/simclr", "data": "photos/", "backbone": "timm/test_vit"}
    backbone = build("timm/test_vit", 160)
    assert pretrained_note(resolve_config(options), backbone) == ""
    pretrained = {**options, "backbone.pretrained": True}
    note = pretrained_note(resolve_config(pretrained), backbone)
    for part in ("processor.image_size=160", "processor.margin=1.0526", "mean [0.5, 0.5, 0.5] and deviation [0.5, 0.5, 0.5]"):
        assert part in note
    other = pretrained_note(resolve_config({**pretrained, "processor.image_size": 32}), backbone)
    assert "processor.image_size=32" in other
    assert "160" in other


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize("pool", ["avg", "timm"])
@torch.no_grad()
def test_vit_equals_timm(images, name, pool):
    backbone = build(name, pool=pool)
    model, normalized = exported(backbone)
    features = model.forward_features(normalized(images()))
    encoded = backbone({"image": images()})
    tokens = backbone.tokenize({"image": images()})
    torch.testing.assert_close(backbone.encode(tokens), features[:, model.num_prefix_tokens :], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoded.tokens, backbone.encode(tokens))
    torch.testing.assert_close(encoded.pooled, model(normalized(images())), atol=1e-5, rtol=1e-5)
    assert encoded.grid == (8, 8)
    layers = backbone.layer_outputs(tokens)
    assert len(layers) == len(backbone.model.blocks)
    torch.testing.assert_close(layers[-1], encoded.tokens)
    # Tokens that are not kept are not seen.
    everything = torch.arange(64).expand(2, -1)
    torch.testing.assert_close(backbone.encode(tokens, keep=everything), encoded.tokens)
    keep = torch.stack([torch.randperm(64)[:10] for _ in range(2)])
    part = backbone.encode(tokens, keep=keep)
    hidden = torch.ones(2, 64, 1, dtype=torch.bool).scatter(1, keep.unsqueeze(2), False)
    changed = replace(tokens, embeddings=tokens.embeddings.masked_fill(hidden, 7.0))
    assert part.shape == (2, 10, backbone.embed_dim)
    assert torch.equal(part, backbone.encode(changed, keep=keep))


def test_vit_takes_other_sizes_that_its_patches_divide(images):
    backbone = build("vit-tiny", **TINY)
    assert backbone({"image": images(size=16)}).grid == (4, 4)
    with pytest.raises(ConfigError, match="30x30 pixels cannot be cut into patches of 4"):
        backbone({"image": images(size=30)})


def test_targets_are_the_normalised_pixels_of_each_patch(images):
    backbone = build("vit-tiny", 16, **TINY)
    batch = {"image": images(size=16)}
    targets, whole, p = backbone.targets(batch), backbone.normalized(batch), backbone.patch_size
    assert targets.shape == (2, 64, p * p * 3) == (2, 64, backbone.target_dim)
    torch.testing.assert_close(targets[1, 9].view(p, p, 3), whole[1, :, p : 2 * p, p : 2 * p].permute(1, 2, 0))
    assert not targets.requires_grad
    assert patches(whole, 4).shape == (2, 16, 48)


@pytest.mark.parametrize(
    ("name", "options", "size", "channels", "grid"),
    [
        ("resnet18-cifar", {}, 32, 3, (4, 4)),
        ("resnet-narrow", {"width": 8}, 32, 2, (4, 4)),
        ("resnet-narrow", {"width": 8, "blocks": 2}, 96, 3, (6, 6)),
        ("resnet-narrow", {"width": 8}, 160, 1, (5, 5)),
        ("vit-tiny", {"depth": 1}, 32, 5, (8, 8)),
        ("timm/test_resnet", {}, 64, 1, (2, 2)),
        ("timm/test_efficientnet", {}, 64, 3, (2, 2)),
        ("timm/test_convnext", {}, 64, 5, (2, 2)),
        ("timm/swin_s3_tiny_224", {}, 64, 3, (2, 2)),
        ("timm/mobilenetv3_small_050", {}, 32, 3, None),  # its head widens the features, so there are no tokens
    ],
)
@torch.no_grad()
def test_embeddings_are_those_of_the_exported_network(name, options, size, channels, grid):
    backbone = build(name, size, channels, **options)
    images = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
    model, normalized = exported(backbone)
    encoded = backbone({"image": images})
    torch.testing.assert_close(model(normalized(images)), encoded.pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(backbone({"image": images / 255}).pooled, encoded.pooled, atol=1e-5, rtol=1e-5)
    assert encoded.grid == grid
    if grid is None:
        assert encoded.tokens is None
        return
    features = model.forward_features(normalized(images))
    last = features if features.shape[-1] == backbone.embed_dim else features.flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoded.tokens, last.reshape(encoded.tokens.shape), atol=1e-5, rtol=1e-5)
    assert isinstance(backbone, TokenBackbone) == (name == "vit-tiny")


def test_default_sizes_fit_each_other():
    vit = "timm/vit_tiny_patch16_224"
    assert [build(vit, 32, **options).patch_size for options in ({}, {"patch_size": 8})] == [4, 8]
    assert build(vit, 112).patch_size == 16
    assert [patch_size_for(size) for size in (8, 16, 28, 32, 64, 96, 224, 30)] == [2, 2, 4, 4, 4, 8, 16, 5]
    assert [local_size_for(size) for size in (28, 32, 96, 224)] == [12, 12, 40, 96]
    assert all(local_size_for(size) % patch_size_for(size) == 0 for size in range(8, 300))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_checkpoint_is_loaded_without_its_classifier(tmp_path, suffix):
    source = timm.create_model("test_resnet", num_classes=10)
    path = tmp_path / f"weights.{suffix}"
    save_file(source.state_dict(), path) if suffix == "safetensors" else torch.save(source.state_dict(), path)
    loaded = build("timm/test_resnet", checkpoint=str(path)).state_dict()
    assert all(torch.equal(loaded[f"model.{k}"], v) for k, v in source.state_dict().items() if f"model.{k}" in loaded)


def test_weights_for_rgb_are_adapted_to_other_channels(tmp_path):
    plain = timm.create_model("test_resnet", num_classes=0).eval()
    save_file(plain.state_dict(), tmp_path / "weights.safetensors")
    grey, six = (build("timm/test_resnet", 32, n, checkpoint=str(tmp_path / "weights.safetensors")) for n in (1, 6))
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        # Summed over red, green and blue: what RGB weights make of three times the same grey, but for the normalisation.
        expected = plain(((images - grey._mean) / grey._std).expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey({"image": images}).pooled, expected, atol=1e-5, rtol=1e-5)
    stem, own = six.export_state("timm")["conv1.0.weight"], plain.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(stem, own.repeat(1, 2, 1, 1) / 2)


class _Spiteful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_bad_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": _Spiteful()}, tmp_path / "code.pth")
    with pytest.raises(ArtifactError, match="cannot be read as tensors"):
        build("timm/test_resnet", checkpoint="code.pth")
    assert not (tmp_path / "ran").exists()
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ArtifactError, match="does not fit the model"):
        build("timm/test_resnet", checkpoint="other.safetensors")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("timm/resnet81", {}, UnknownIdError, r"has no model 'resnet81'.*resnet"),
        ("timm/test_vit", {"patch_size": 5}, ConfigError, "patch_size=5 does not divide the image size 32"),
        ("timm/test_resnet", {"patch_size": 4}, ConfigError, "no plain vision transformer"),
        ("timm/test_resnet", {"pool": "timm"}, ConfigError, "no plain vision transformer"),
        ("vit-tiny", {"heads": 5}, ConfigError, "heads=5 does not divide"),
        ("vit-tiny", {"patch_size": 5}, ConfigError, "patch_size=5 does not divide the image size 32"),
    ],
)
def test_bad_backbone_options_get_a_clear_error(name, options, error, message):
    with pytest.raises(error, match=message):
        build(name, **options)


def test_an_unknown_export_format_is_refused():
    with pytest.raises(ArtifactError, match="no export format 'onnx2'; it has: timm"):
        build("timm/test_resnet").export_state("onnx2")


def test_weights_that_cannot_be_fetched_name_the_option_for_a_file(monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"no route to host.*backbone.checkpoint=PATH"):
        build("timm/test_resnet", pretrained=True)


def test_fixed_positions_are_sines_and_cosines_of_the_lattice():
    tiny = build("vit-tiny", embed_dim=16, depth=1, heads=1, patch_size=8, positions="sin-cos")
    positions = tiny.model.pos_embed
    assert not positions.requires_grad
    rates = [10000 ** (-i / 4) for i in range(4)]
    for y in range(4):
        for x in range(4):
            expected = [f(place * rate) for place in (y, x) for f in (math.sin, math.cos) for rate in rates]
            assert positions[0, 4 * y + x].tolist() == pytest.approx(expected, abs=1e-6)
    assert build("vit-tiny", **TINY).model.pos_embed.requires_grad
    with_class = build("timm/test_vit", positions="sin-cos")
    unfreeze(with_class)  # as fine-tuning does
    assert not with_class.model.pos_embed.requires_grad
    assert with_class.model.cls_token.requires_grad
    assert torch.count_nonzero(with_class.model.pos_embed[:, :1]) == 0
    grid = with_class.model.patch_embed.grid_size
    lattice = lattice_positions(grid, with_class.embed_dim, torch.device("cpu"))
    assert torch.equal(with_class.model.pos_embed[0, 1:], lattice)


def test_the_input_projection_is_that_of_the_patches():
    tiny = build("vit-tiny", **TINY)
    assert {name for name, p in tiny.named_parameters() if any(p is q for q in tiny.input_projection())} == {
        "model.patch_embed.proj.weight", "model.patch_embed.proj.bias",
    }  # fmt: skip
    assert build("resnet-narrow", width=8).input_projection() == []
    assert isinstance(build("timm/test_vit"), ViTBackbone)


def test_positions_by_matrix_products_are_those_of_timm():
    positions = torch.randn(1, 1 + 36, 8).requires_grad_()
    for new in ((4, 4), (3, 9)):
        wanted = resample_abs_pos_embed(positions, new_size=list(new), old_size=[6, 6], num_prefix_tokens=1)
        found = resampled_positions(positions, (6, 6), new, 1)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        weight = torch.randn_like(wanted)
        ours, theirs = (torch.autograd.grad((each * weight).sum(), positions)[0] for each in (found, wanted))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
