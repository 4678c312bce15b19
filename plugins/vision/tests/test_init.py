"""Image backbones that start from encoders of other sizes and channels, and from models of other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.pos_embed import resample_abs_pos_embed

import selfsup
from selfsup.artifacts import Encoder
from selfsup.artifacts.initial_weights import initial_weights, load_into
from selfsup.backbones import fit_channels
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.training.run.resolve import resolve_config
from selfsup_vision.backbones import ViTBackbone
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig

GREY = [{"image": np.full((16, 16, 3), value, dtype=np.uint8)} for value in range(0, 160, 8)]


def encoder(folder: Path, size: int = 16, id: str = "vit-tiny", **options: Any) -> Path:
    processor = ImageProcessor(ImageProcessorConfig(image_size=size)).fit(GREY)
    options = {"embed_dim": 32, "depth": 1, "heads": 2, "patch_size": 4} if id == "vit-tiny" else options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone, config = registry().build_backbone(id, options, processor.info())
    return Encoder(processor, backbone, backbone_id=id, backbone_options=config).save(folder)


def start(rows: Any, out: Path, init: Any, **overrides: Any) -> selfsup.Run:
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return selfsup.pretrain(
        "vision/random-init", rows, out=out, init=str(init), batch_size=4, progress=False, precision="32", overrides=given
    )


def test_positions_are_resampled_and_patches_and_channels_made_to_fit(tmp_path: Path) -> None:
    source = encoder(tmp_path / "encoder")
    rows = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 5), dtype=np.uint8)
    run = start(rows, tmp_path / "run", source, processor__image_size=32, processor__channels=5)
    ours, theirs = (each.backbone.state_dict() for each in (run.encoder, selfsup.load(source)))
    positions = resample_abs_pos_embed(theirs["model.pos_embed"], new_size=[8, 8], old_size=[4, 4], num_prefix_tokens=0)
    assert torch.allclose(ours["model.pos_embed"], positions, atol=1e-6)
    assert torch.equal(ours["model.patch_embed.proj.weight"], fit_channels(theirs["model.patch_embed.proj.weight"], 5))
    same = [key for key in ours if ours[key].shape == theirs[key].shape]
    assert all(torch.equal(ours[key], theirs[key]) for key in same)
    assert len(same) == len(ours) - 2
    larger = start(GREY, tmp_path / "larger", source, backbone__patch_size=8)
    weight = larger.encoder.backbone.state_dict()["model.patch_embed.proj.weight"]
    assert weight.shape == (32, 3, 8, 8)
    assert larger.encoder.backbone.state_dict()["model.pos_embed"].shape == (1, 4, 32)


def test_first_convolutions_take_other_channels(tmp_path: Path) -> None:
    source = encoder(tmp_path / "encoder", id="resnet-narrow", width=8)
    rows = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 2), dtype=np.uint8)
    run = start(rows, tmp_path / "run", source, processor__channels=2)
    ours, theirs = (each.backbone.state_dict()["model.conv1.weight"] for each in (run.encoder, selfsup.load(source)))
    assert torch.equal(ours, theirs[:, :2] * 1.5)


@pytest.mark.parametrize("names", ["as saved", "of version 4"])
@torch.no_grad()
def test_a_vit_of_transformers_gives_what_the_library_gives(names: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="a model of it is read")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, image_size=16, patch_size=8
    )
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    model.embeddings.cls_token.normal_()
    model.embeddings.position_embeddings.normal_(std=0.5)
    folder = tmp_path / "vit"
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.2, 0.7]}))
    if names == "of version 4":
        state = {f"vit.{_old(key)}": value.contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    run = start(GREY, tmp_path / "run", folder)
    assert run.config.backbone == "timm/vit_tiny_patch16_224"
    assert run.encoder.processor.info()["image_size"] == 16
    image = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.5, 0.2, 0.7]).view(3, 1, 1)
    expected = model(pixel_values=(image / 255 - mean) / std).last_hidden_state[:, 1:]
    tokens = run.encoder.backbone({"image": image}).tokens
    assert tokens is not None
    assert torch.allclose(tokens, expected, atol=2e-4)


def _old(key: str) -> str:
    """The name of a weight in files of version 4 of the library."""
    pairs = (
        ("layers.", "encoder.layer."),
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    )
    for new, old in pairs:
        key = key.replace(new, old)
    return key


def test_a_small_vit_of_transformers_has_the_shape_of_ours(tmp_path: Path) -> None:
    config = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 4}
    (tmp_path / "config.json").write_text(json.dumps({**config, "image_size": 16}))
    found = initial_weights(tmp_path, "vision")
    assert found.backbone_id == "vit-tiny"
    assert found.options == {"patch_size": 4, "embed_dim": 32, "depth": 1, "heads": 2}
    assert found.processor_options == {"image_size": 16}


def test_a_folder_of_timm(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=7)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    known = {"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 0.8, "classifier": "head"}}
    (tmp_path / "config.json").write_text(json.dumps(known))
    run = start(GREY, tmp_path / "run", tmp_path)
    assert run.config.backbone == "timm/test_vit"
    assert (run.config.processor_options["image_size"], run.config.processor_options["margin"]) == (64, 1.25)
    ours = run.encoder.backbone.state_dict()
    assert torch.equal(ours["model.blocks.0.attn.qkv.weight"], model.state_dict()["blocks.0.attn.qkv.weight"])
    assert not any("head" in key for key in ours)


def test_a_file_of_timm_for_images_of_another_size(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", img_size=64)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    run = selfsup.pretrain(
        "vision/random-init", GREY, out=tmp_path / "run", init=str(tmp_path / "weights.pth"), backbone="timm/test_vit",
        batch_size=4, progress=False, overrides={"processor.image_size": 128, "backbone.patch_size": 16},
    )  # fmt: skip
    assert isinstance(run.encoder.backbone, ViTBackbone)
    assert run.encoder.backbone.state_dict()["model.pos_embed"].shape[1] == 65
    told = json.loads((run.dir / "run.json").read_text())["init"]
    assert told["share"] == 1


def test_a_name_of_timm_asks_for_its_weights() -> None:
    found = initial_weights("timm/resnet50.a1_in1k", "vision")
    assert (found.backbone_id, found.options) == ("timm/resnet50.a1_in1k", {"pretrained": True})
    assert found.come_with("timm/resnet50.a1_in1k", {"pretrained": True})
    assert not found.come_with("timm/resnet50.a1_in1k", {"pretrained": False})
    assert not found.come_with("timm/resnet18", {"pretrained": True})
    assert found.processor_options["image_size"] == 224
    with pytest.raises(ConfigError, match="is for vision, not for smell"):
        initial_weights("timm/resnet50", "smell")


def test_a_language_model_is_none_of_images(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match=r"holds a model of another library \(bert\), and no backbone for vision can load it"):
        start(GREY, tmp_path / "run", tmp_path)


def test_another_backbone_takes_what_has_the_same_name(tmp_path: Path) -> None:
    found = initial_weights(encoder(tmp_path / "encoder"), "vision")
    info = {"image_size": 16, "channels": 3}
    deeper, _ = registry().build_backbone(
        "vit-tiny", {"embed_dim": 32, "depth": 2, "heads": 2, "patch_size": 4, "positions": "sin-cos"}, info
    )
    fitted, _ = load_into(deeper, found, info)
    assert fitted.share > 0.5
    assert {name.split(".")[2] for name in fitted.left} == {"1"}
    assert "not in theirs" in fitted.describe()[0]


def test_a_task_asks_for_fixed_positions_and_weights_keep_their_own(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "weights.pth")
    options = {"task": "vision/mocov3", "data": "somewhere", "backbone": "timm/test_vit"}
    assert resolve_config(options).backbone_options["positions"] == "sin-cos"
    given = {**options, "backbone.checkpoint": str(tmp_path / "weights.pth")}
    assert resolve_config(given).backbone_options["positions"] == "learned"  # and so they are trained where the run goes on
