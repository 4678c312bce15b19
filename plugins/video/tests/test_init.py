"""Videos that start from a VideoMAE, and networks on frames that start at another size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import selfsup
from selfsup.artifacts.initial_weights import initial_weights, load_into
from selfsup.errors import ConfigError
from selfsup.registry import registry

CLIPS = np.random.default_rng(0).integers(0, 256, (8, 4, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("qkv_bias", [True, False])
@torch.no_grad()
def test_a_videomae_gives_what_the_library_gives(tmp_path: Path, qkv_bias: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="a model of it is read")
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, image_size=32, patch_size=8,
        num_frames=4, use_mean_pooling=False, qkv_bias=qkv_bias,
    )  # fmt: skip
    model = transformers.VideoMAEModel(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "layernorm" in name:
            parameter.normal_(mean=float("weight" in name), std=0.3)
    model.save_pretrained(tmp_path / "mae")
    scaling = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.2, 0.7]}
    (tmp_path / "mae" / "preprocessor_config.json").write_text(json.dumps(scaling))
    run = selfsup.pretrain(
        "video/random-init", CLIPS, out=tmp_path / "run", init=str(tmp_path / "mae"), batch_size=4, progress=False
    )
    assert (run.config.backbone, run.config.backbone_options["depth"]) == ("video-vit-small", 2)
    info = run.encoder.processor.info()
    assert (info["frames"], info["image_size"]) == (4, 32)
    video = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(scaling[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    expected = model(pixel_values=(video / 255 - mean) / std).last_hidden_state
    tokens = run.encoder.backbone({"video": video}).tokens
    assert tokens is not None
    assert torch.allclose(tokens, expected, atol=2e-3)  # the library's norms have an epsilon of 1e-12, ours torch's 1e-5
    assert json.loads((run.dir / "run.json").read_text())["init"]["share"] == 1


def test_a_videomae_of_mean_pooling_brings_the_norm_of_its_classifier() -> None:
    from selfsup_video.backbones.adoption import renamed

    scaling = ((0.0,) * 3, (1.0,) * 3)
    found = renamed({"fc_norm.weight": torch.full((4,), 2.0), "fc_norm.bias": torch.ones(4)}, scaling)
    assert found["transformer.norm.weight"].tolist() == [2.0] * 4


def test_frames_of_another_size_have_resampled_positions(tmp_path: Path) -> None:
    small, large = ({"frames": 2, "clips": 1, "image_size": size, "channels": 3} for size in (160, 192))
    source, _ = registry().build_backbone("timm-frames/test_vit", {}, small)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    found = initial_weights(tmp_path / "weights.pth", "video", backbone="timm-frames/test_vit")
    backbone, _ = registry().build_backbone("timm-frames/test_vit", {}, large)
    fitted, _ = load_into(backbone, found, large)
    assert fitted.adapted == {"model.pos_embed": ((1, 101, 64), (1, 145, 64))}
    assert fitted.share == 1


def test_a_network_of_speech_is_none_of_videos(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(ConfigError, match=r"of another library \(wav2vec2\), and no backbone for video can load it"):
        initial_weights(tmp_path, "video")
