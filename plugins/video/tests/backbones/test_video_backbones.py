from functools import cache

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from selfsup.errors import ArtifactError, ConfigError, UnknownIdError
from selfsup.registry import registry
from selfsup.training.run.resolve import resolve_config
from selfsup_video.backbones.vit import VideoViT, tubelets

INFO = {"frames": 8, "clips": 1, "image_size": 32}
SMALL = {
    "conv3d-small": {"width": 8},
    "single-frame": {"width": 8},
    "video-vit-small": {"embed_dim": 32, "heads": 2, "depth": 2},
}


def build(name, info=INFO, **options):
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone(name, {**SMALL.get(name, {}), **options}, info)
    return backbone.eval()


@cache
def built(name, **options):
    """One network for all tests that leave it as it is."""
    return build(name, **options)


def videos(B=2, T=8, side=32, seed=0):
    return torch.randint(0, 256, (B, T, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def encode(backbone, video):
    with torch.no_grad():
        return backbone({"video": video})


@pytest.mark.parametrize("name", ["conv3d-small", "single-frame", "video-vit-small", "timm-frames/test_resnet"])
def test_shapes_and_types_of_input(name):
    backbone, encoded = built(name), encode(built(name), videos())
    assert encoded.pooled.shape == (2, backbone.pooled_dim)
    assert encoded.tokens.shape == (2, torch.tensor(encoded.grid).prod(), backbone.embed_dim)
    assert len(encoded.grid) == 3
    torch.testing.assert_close(encode(backbone, videos() / 255).pooled, encoded.pooled, atol=1e-4, rtol=1e-4)
    for frames, side in ((1, 32), (3, 16), (4, 24)):
        assert bool(torch.isfinite(encode(backbone, videos(T=frames, side=side)).pooled).all())


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "options", "clips", "lengths"),
    [
        ("conv3d-small", {}, 2, (1, 3, 8)), ("video-vit-small", {}, 2, (1, 3, 8)), ("single-frame", {}, 2, (1, 3, 8)),
        ("timm-frames/test_resnet", {"pool": "mean-difference"}, 2, (1, 8)), ("timm-frames/test_vit", {}, 2, (3,)),
        ("torchvision/r3d_18", {}, 1, (1, 3)), ("torchvision/s3d", {}, 1, (11,)), ("torchvision/swin3d_t", {}, 1, (3,)),
    ],
)  # fmt: skip
def test_what_follows_a_short_video_changes_nothing(name, options, clips, lengths):
    """A short video encoded alone, and padded in a batch with whole clips."""
    side = 64 if name in ("torchvision/s3d", "torchvision/swin3d_t") else 32
    backbone = build(name, {**INFO, "frames": 16, "clips": clips, "image_size": side}, **options)
    for norm in (module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm3d)):
        torch.nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    noise = videos(2, 16, side, seed=1)
    whole = backbone({"video": noise[1:]})
    for frames in lengths:
        short = videos(1, frames, side)
        backbone.info = {"frames": frames}
        wanted = backbone({"video": short})
        backbone.info = {"frames": 16}
        filled = torch.cat([torch.cat([short, noise[:1, frames:]], dim=1), noise[1:]])
        got = backbone({"video": filled.repeat(1, clips, 1, 1, 1), "length": torch.tensor([frames, 16])})
        torch.testing.assert_close(got.pooled[:1], wanted.pooled, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(got.pooled[1:], whole.pooled, atol=1e-4, rtol=1e-3)
        if name != "single-frame":
            assert not got.padding[1].any()
            real = got.tokens[0][~got.padding[0]]
            torch.testing.assert_close(real, wanted.tokens[0].repeat(clips, 1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [("conv3d-small", {}), ("video-vit-small", {}), ("timm-frames/test_resnet", {"pool": "mean-difference"})],
)
def test_clips_are_encoded_separately_and_averaged(name, options):
    backbone = built(name, **options)
    one, two = encode(backbone, videos(seed=1)), encode(backbone, videos(seed=2))
    both = encode(backbone, torch.cat([videos(seed=1), videos(seed=2)], dim=1))
    torch.testing.assert_close(both.pooled, (one.pooled + two.pooled) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both.tokens, torch.cat([one.tokens, two.tokens], dim=1), atol=1e-5, rtol=1e-4)
    assert both.grid == (2 * one.grid[0], *one.grid[1:])


@pytest.mark.parametrize(("name", "options"), [("single-frame", {}), ("timm-frames/test_resnet", {"seen": "middle"})])
def test_a_single_frame_is_all_that_is_seen(name, options):
    backbone, video = built(name, **options), videos(T=24)
    other = videos(T=24, seed=9)
    other[:, 12] = video[:, 12]  # the middle of the middle clip
    assert torch.equal(encode(backbone, other).pooled, encode(backbone, video).pooled)
    other[:, 12, :, 0, 0] += 100
    assert not torch.equal(encode(backbone, other).pooled, encode(backbone, video).pooled)


def test_the_single_frame_network_is_that_of_the_video():
    one, other = (
        {key: value.shape for key, value in built(name).state_dict().items()} for name in ("single-frame", "conv3d-small")
    )
    assert one == other


@pytest.mark.parametrize(
    ("name", "matters"), [("conv3d-small", True), ("video-vit-small", True), ("timm-frames/test_resnet", False)]
)
def test_the_order_of_frames_matters_to_networks_of_videos_only(name, matters):
    forwards, backwards = (encode(built(name), video).pooled for video in (videos(), videos().flip(1)))
    assert torch.allclose(forwards, backwards, atol=1e-4 if matters else 1e-5) != matters


def test_frames_equal_timm_and_are_pooled_by_mean_and_difference():
    video, backbone = videos(), built("timm-frames/test_resnet")
    plain = timm.create_model("test_resnet", num_classes=0).eval()
    plain.load_state_dict(backbone.model.state_dict())
    mean, std = (torch.tensor(plain.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        each = torch.stack([plain((video[:, t] / 255 - mean) / std) for t in range(8)], dim=1)
    torch.testing.assert_close(encode(backbone, video[:, :1]).pooled, each[:, 0], atol=1e-5, rtol=1e-4)
    difference = built("timm-frames/test_resnet", pool="mean-difference")
    expected = torch.cat([each.mean(dim=1), each.diff(dim=1).abs().mean(dim=1)], dim=1)
    torch.testing.assert_close(encode(difference, video).pooled, expected, atol=1e-5, rtol=1e-4)
    assert not encode(difference, video[:, :1]).pooled[:, difference.embed_dim :].any()
    assert difference.pooled_dim == 2 * difference.embed_dim


@pytest.mark.parametrize(
    ("name", "grid"), [("test_vit", (8, 2, 2)), ("test_convnext", (8, 1, 1)), ("mobilenetv3_small_050", None)]
)
def test_frames_of_other_models_of_timm(name, grid):
    assert encode(build(f"timm-frames/{name}"), videos()).grid == grid


@pytest.mark.parametrize(
    ("backbone", "size"), [("torchvision/r3d_18", 112), ("torchvision/swin3d_t", 224), ("timm-frames/test_vit", 160)]
)
def test_pretrained_weights_bring_their_frame_size(backbone, size):
    options = {"task": "video/random-init", "data": "clips/", "backbone": backbone}
    assert resolve_config(options).processor_options["image_size"] == "auto"
    pretrained = {**options, "backbone.pretrained": True}
    assert resolve_config(pretrained).processor_options["image_size"] == size
    assert resolve_config({**pretrained, "processor.image_size": 32}).processor_options["image_size"] == 32


@pytest.mark.parametrize(("name", "head"), [("r3d_18", "fc"), ("swin3d_t", "head"), ("s3d", "classifier")])
def test_features_equal_torchvision(name, head):
    side = 64 if name == "s3d" else 32
    backbone, video = build(f"torchvision/{name}", {**INFO, "frames": 16}), videos(1, 16, side)
    full = torchvision.models.get_model(name).eval()
    full.load_state_dict(backbone.model.state_dict(), strict=False)
    if name == "s3d":
        full.avgpool = torch.nn.AdaptiveAvgPool3d(1)  # its own window is that of 224 pixels
    features = []
    getattr(full, head).register_forward_pre_hook(lambda module, given: features.append(given[0]))
    own = torchvision.models.get_model_weights(name)["DEFAULT"].transforms()  # Swin's were trained with ImageNet's mean
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (own.mean, own.std))
    with torch.no_grad():
        full(((video / 255 - mean) / std).transpose(1, 2))
    torch.testing.assert_close(encode(backbone, video).pooled, features[0].view(1, -1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("torchvision/r2plus1d_1", {}, UnknownIdError, "'r2plus1d_1'.*'r2plus1d_18'"),
        ("torchvision/mvit_v2_s", {}, ConfigError, "one length and size only"),
        ("timm-frames/resnet1", {}, UnknownIdError, "has no model 'resnet1'"),
        ("video-vit-small", {"patch_size": 5}, ConfigError, "patch_size=5 does not divide the image size 32"),
    ],
)
def test_what_cannot_be_built_is_a_clear_error(name, options, error, message):
    with pytest.raises(error, match=message):
        build(name, **options)


@pytest.mark.parametrize(("name", "head"), [("torchvision/s3d", "classifier"), ("timm-frames/test_resnet", "fc")])
def test_weights_are_loaded_from_a_checkpoint(name, head, tmp_path):
    source = build(name)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.01)
    state = {key: value.contiguous() for key, value in source.model.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    save_file({**state, f"{head}.weight": torch.zeros(4, 4)}, path)
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    for file in (path, tmp_path / "weights.pth"):
        loaded = build(name, checkpoint=str(file)).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in source.state_dict().items())
    save_file(dict(list(state.items())[3:]), path)
    with pytest.raises(ArtifactError, match="does not fit the model: 3 entries"):
        build(name, checkpoint=str(path))


def test_tubelets_hold_the_pixels_of_two_frames():
    video = torch.arange(2 * 3 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 3, 4, 6)
    cut, grid = tubelets(video, 2, 2)
    assert grid == (2, 2, 3)
    assert cut.shape == (2, 12, 2 * 2 * 2 * 3)
    second = cut[1].view(2, 2, 3, 2, 2, 2, 3)
    torch.testing.assert_close(second[0, 1, 2, 1], video[1, 1, :, 2:4, 4:6].permute(1, 2, 0))
    torch.testing.assert_close(second[1, :, :, 0], second[1, :, :, 1])  # the third frame, repeated


@torch.no_grad()
def test_the_vit_is_a_token_backbone():
    backbone, batch = built("video-vit-small"), {"video": videos()}
    assert isinstance(backbone, VideoViT)
    tokens = backbone.tokenize(batch)
    encoded = backbone.encode(tokens)
    assert tokens.grid == (4, 8, 8)
    torch.testing.assert_close(backbone(batch).pooled, encoded.mean(dim=1))
    layers = backbone.layer_outputs(tokens)
    assert len(layers) == 2
    assert torch.equal(layers[-1], encoded)
    torch.testing.assert_close(backbone.encode(tokens, keep=torch.arange(256).expand(2, -1)), encoded)
    keep = torch.stack([torch.randperm(256)[:20] for _ in range(2)])
    hidden = torch.ones(2, 256, dtype=torch.bool).scatter(1, keep, False)
    again = backbone.encode(tokens.masked(hidden, torch.full((32,), 9.0)), keep=keep)
    assert torch.equal(backbone.encode(tokens, keep=keep), again)
    targets = backbone.targets(batch)
    assert targets.shape == (2, 256, backbone.target_dim) == (2, 256, 2 * 4 * 4 * 3)
    torch.testing.assert_close(targets, tubelets(backbone.scaled(videos()), 2, 4)[0])
    with pytest.raises(ConfigError, match=r"frames of 30x30 pixels cannot be cut into tubelets of 4"):
        encode(backbone, videos(side=30))


@torch.no_grad()
def test_clips_of_the_vit_are_padded_and_encoded_separately():
    first, second, other = (videos(seed=seed) for seed in (1, 2, 3))
    odd = build("video-vit-small", {**INFO, "frames": 5})
    both = {"video": torch.cat([first[:, :5], second[:, :5]], dim=1)}
    assert odd.tokenize(both).grid == (6, 8, 8)
    apart = torch.cat([odd.targets({"video": each[:, :5]}) for each in (first, second)], dim=1)
    torch.testing.assert_close(odd.targets(both), apart)
    backbone, keep = built("video-vit-small"), torch.tensor([[3, 300, 50, 511]] * len(first))
    kept = [
        backbone.encode(backbone.tokenize({"video": torch.cat([first, each], dim=1)}), keep=keep) for each in (second, other)
    ]
    assert not torch.allclose(kept[0][:, [1, 3]], kept[1][:, [1, 3]], atol=1e-3)
    alone = backbone.encode(backbone.tokenize({"video": first}), keep=keep[:, [0, 2]])
    for each in kept:
        torch.testing.assert_close(each[:, [0, 2]], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("size", "grid"), [(16, (2, 2, 2)), (32, (2, 2, 2)), (64, (2, 2, 2)), (112, (2, 4, 4))])
def test_the_stem_follows_the_image_size(size, grid):
    assert encode(build("conv3d-small", {**INFO, "image_size": size}), videos(1, side=size)).grid == grid
