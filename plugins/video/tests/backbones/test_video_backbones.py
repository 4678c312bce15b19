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
ALL = ["conv3d-small", "single-frame", "video-vit-small", "torchvision/r3d_18", "timm-frames/test_resnet"]
SMALL = {
    "conv3d-small": {"width": 8},
    "single-frame": {"width": 8},
    "video-vit-small": {"embed_dim": 32, "heads": 2, "depth": 2},
}


def build(name, info=INFO, **options):
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone(name, {**SMALL.get(name, {}), **options}, info)
    return backbone.eval()


def videos(B=3, T=8, side=32, seed=0):
    return torch.randint(0, 256, (B, T, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def encode(backbone, video):
    with torch.no_grad():
        return backbone({"video": video})


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_types_of_input(name):
    backbone = build(name)
    encoded = encode(backbone, videos())
    assert encoded.pooled.shape == (3, backbone.pooled_dim)
    assert encoded.tokens.shape == (3, torch.tensor(encoded.grid).prod(), backbone.embed_dim)
    assert len(encoded.grid) == 3
    torch.testing.assert_close(encode(backbone, videos() / 255).pooled, encoded.pooled, atol=1e-4, rtol=1e-4)
    assert torch.equal(backbone({"video": videos(), "other": torch.zeros(3)}).pooled, backbone({"video": videos()}).pooled)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("frames", "side"), [(1, 32), (3, 16), (4, 24)])
def test_short_and_small_views_are_taken(name, frames, side):
    encoded = encode(build(name), videos(T=frames, side=side))
    assert bool(torch.isfinite(encoded.pooled).all())


WITH_TIME = [
    ("conv3d-small", {}), ("video-vit-small", {}), ("torchvision/r3d_18", {}), ("torchvision/r2plus1d_18", {}),
    ("torchvision/s3d", {}), ("torchvision/swin3d_t", {}), ("timm-frames/test_resnet", {"pool": "mean-difference"}),
    ("timm-frames/test_vit", {}),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize(("name", "options"), [*WITH_TIME, ("single-frame", {})])
def test_what_lies_behind_a_short_video_changes_nothing(name, options, clips):
    """A video of few frames alone, and filled up with others in a batch with whole clips."""
    side = 64 if name in ("torchvision/s3d", "torchvision/swin3d_t") else 32
    info = {**INFO, "frames": 16, "clips": clips, "image_size": side}
    backbone = build(name, info, **options)
    for norm in (module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm3d)):
        torch.nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    noise = videos(2, 16, side, seed=1)
    whole = backbone({"video": noise[1:]})
    for frames in (11,) if name == "torchvision/s3d" else (1, 3, 8):
        short = videos(1, frames, side)
        alone = build(name, {**info, "frames": frames, "clips": 1}, **options)
        alone.load_state_dict(backbone.state_dict())
        wanted = alone({"video": short})
        filled = torch.cat([torch.cat([short, noise[:1, frames:]], dim=1), noise[1:]])
        got = backbone({"video": filled.repeat(1, clips, 1, 1, 1), "length": torch.tensor([frames, 16])})
        torch.testing.assert_close(got.pooled[:1], wanted.pooled, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(got.pooled[1:], whole.pooled, atol=1e-4, rtol=1e-3)
        if name != "single-frame":
            assert not got.padding[1].any()
            real = got.tokens[0][~got.padding[0]]
            torch.testing.assert_close(real, wanted.tokens[0].repeat(clips, 1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"), [each for each in WITH_TIME if each[0] not in ("torchvision/s3d", "torchvision/swin3d_t")]
)
def test_clips_are_seen_apart_and_averaged(name, options):
    backbone = build(name, **options)
    one, two = encode(backbone, videos(seed=1)), encode(backbone, videos(seed=2))
    both = encode(backbone, torch.cat([videos(seed=1), videos(seed=2)], dim=1))
    torch.testing.assert_close(both.pooled, (one.pooled + two.pooled) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both.tokens, torch.cat([one.tokens, two.tokens], dim=1), atol=1e-5, rtol=1e-4)
    assert both.grid == (2 * one.grid[0], *one.grid[1:])


@pytest.mark.parametrize(("name", "options"), [("single-frame", {}), ("timm-frames/test_resnet", {"seen": "middle"})])
def test_a_single_frame_is_all_that_is_seen(name, options):
    backbone, video = build(name, **options), videos(T=24)
    other = videos(T=24, seed=9)
    other[:, 12] = video[:, 12]  # the middle of the middle clip
    assert torch.equal(encode(backbone, other).pooled, encode(backbone, video).pooled)
    other[:, 12, :, 0, 0] += 100
    assert not torch.equal(encode(backbone, other).pooled, encode(backbone, video).pooled)


def test_the_single_frame_network_is_that_of_the_video():
    shapes = [
        {name: value.shape for name, value in build(name).state_dict().items()} for name in ("single-frame", "conv3d-small")
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["conv3d-small", "video-vit-small", "torchvision/r3d_18"])
def test_order_matters_to_networks_of_videos(name):
    backbone = build(name)
    assert not torch.allclose(encode(backbone, videos()).pooled, encode(backbone, videos().flip(1)).pooled, atol=1e-4)


def test_order_does_not_matter_to_the_mean_over_frames():
    backbone = build("timm-frames/test_resnet")
    torch.testing.assert_close(
        encode(backbone, videos()).pooled, encode(backbone, videos().flip(1)).pooled, atol=1e-5, rtol=1e-5
    )


def test_frames_are_pooled_by_mean_and_difference():
    backbone = build("timm-frames/test_resnet", pool="mean-difference")
    video = videos()
    each = torch.stack([encode(build("timm-frames/test_resnet"), video[:, t : t + 1]).pooled for t in range(8)], dim=1)
    expected = torch.cat([each.mean(dim=1), each.diff(dim=1).abs().mean(dim=1)], dim=1)
    assert backbone.pooled_dim == 2 * backbone.embed_dim
    torch.testing.assert_close(encode(backbone, video).pooled, expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(encode(backbone, video[:, :1]).pooled[:, backbone.embed_dim :], torch.zeros(3, backbone.embed_dim))


def test_frames_equal_timm():
    backbone = build("timm-frames/test_resnet")
    plain = timm.create_model("test_resnet", num_classes=0).eval()
    plain.load_state_dict(backbone.model.state_dict())
    known = plain.pretrained_cfg
    mean, std = (torch.tensor(known[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = plain((videos()[:, 0] / 255 - mean) / std)
    torch.testing.assert_close(encode(backbone, videos()[:, :1]).pooled, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "grid"), [("test_vit", (8, 2, 2)), ("test_convnext", (8, 1, 1)), ("mobilenetv3_small_050", None)]
)
def test_frames_of_other_models_of_timm(name, grid):
    encoded = encode(build(f"timm-frames/{name}"), videos())
    assert encoded.grid == grid
    assert encoded.pooled.shape[0] == 3


@pytest.mark.parametrize(
    ("backbone", "size"), [("torchvision/r3d_18", 112), ("torchvision/swin3d_t", 224), ("timm-frames/test_vit", 160)]
)
def test_the_size_of_pretrained_weights_comes_along(backbone, size):
    options = {"task": "video/random-init", "data": "clips/", "backbone": backbone}
    assert resolve_config(options).processor_options["image_size"] == "auto"
    pretrained = {**options, "backbone.pretrained": True}
    assert resolve_config(pretrained).processor_options["image_size"] == size
    assert resolve_config({**pretrained, "processor.image_size": 32}).processor_options["image_size"] == 32


@pytest.mark.parametrize("name", ["r3d_18", "s3d", "swin3d_t"])
def test_torchvision_gives_the_same_features(name):
    backbone = build(f"torchvision/{name}", {"frames": 16, "clips": 1, "image_size": 224 if name == "s3d" else 32})
    side = 224 if name == "s3d" else 32
    video = videos(1, 16, side)
    features = []
    full = torchvision.models.get_model(name).eval()
    full.load_state_dict(backbone.model.state_dict(), strict=False)
    head = {"s3d": "classifier", "swin3d_t": "head"}.get(name, "fc")
    getattr(full, head).register_forward_pre_hook(lambda module, given: features.append(given[0]))
    own = torchvision.models.get_model_weights(name)["DEFAULT"].transforms()  # Swin's were trained with ImageNet's mean
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (own.mean, own.std))
    with torch.no_grad():
        full(((video / 255 - mean) / std).transpose(1, 2))
    torch.testing.assert_close(encode(backbone, video).pooled, features[0].view(1, -1), atol=1e-4, rtol=1e-3)


def test_unknown_and_unfit_names_say_what_there_is():
    with pytest.raises(UnknownIdError, match=r"no video network 'r2plus1d_1'. Did you mean 'r2plus1d_18'"):
        build("torchvision/r2plus1d_1")
    with pytest.raises(ConfigError, match="one length and size only"):
        build("torchvision/mvit_v2_s")
    with pytest.raises(UnknownIdError, match="has no model 'resnet1'"):
        build("timm-frames/resnet1")


@pytest.mark.parametrize("name", ["torchvision/r3d_18", "timm-frames/test_resnet"])
def test_first_weights_come_from_a_checkpoint(name, tmp_path):
    source = build(name)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.01)
    state = {key: value.contiguous() for key, value in source.model.state_dict().items()}
    save_file({**state, "fc.weight": torch.zeros(4, 4)}, tmp_path / "weights.safetensors")
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    for file in ("weights.safetensors", "weights.pth"):
        loaded = build(name, checkpoint=str(tmp_path / file))
        assert torch.equal(encode(loaded, videos()).pooled, encode(source, videos()).pooled)
    save_file(dict(list(state.items())[3:]), tmp_path / "weights.safetensors")
    with pytest.raises(ArtifactError, match="does not fit the model: 3 entries"):
        build(name, checkpoint=str(tmp_path / "weights.safetensors"))
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match="cannot be read as tensors"):
        build(name, checkpoint=str(tmp_path / "weights.pth"))


def test_tubelets_hold_the_pixels_of_two_frames():
    video = torch.arange(2 * 3 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 3, 4, 6)
    cut, grid = tubelets(video, 2, 2)
    assert grid == (2, 2, 3)
    assert cut.shape == (2, 12, 2 * 2 * 2 * 3)
    second = cut[1].view(2, 2, 3, 2, 2, 2, 3)
    torch.testing.assert_close(second[0, 1, 2, 1], video[1, 1, :, 2:4, 4:6].permute(1, 2, 0))
    torch.testing.assert_close(second[1, :, :, 0], second[1, :, :, 1])  # the third frame, repeated


def test_the_vit_is_a_token_backbone():
    backbone = build("video-vit-small")
    assert isinstance(backbone, VideoViT)
    batch = {"video": videos()}
    with torch.no_grad():
        tokens = backbone.tokenize(batch)
        assert tokens.grid == (4, 8, 8)
        encoded = backbone.encode(tokens)
        torch.testing.assert_close(backbone(batch).pooled, encoded.mean(dim=1))
        layers = backbone.layer_outputs(tokens)
        assert len(layers) == 2
        assert torch.equal(layers[-1], encoded)
        everything = torch.arange(256).expand(3, -1)
        torch.testing.assert_close(backbone.encode(tokens, keep=everything), encoded)
        keep = torch.stack([torch.randperm(256)[:20] for _ in range(3)])
        part = backbone.encode(tokens, keep=keep)
        hidden = torch.ones(3, 256, dtype=torch.bool).scatter(1, keep, False)
        again = backbone.encode(tokens.masked(hidden, torch.full((32,), 9.0)), keep=keep)
        assert torch.equal(part, again)
        targets = backbone.targets(batch)
    assert targets.shape == (3, 256, backbone.target_dim) == (3, 256, 2 * 4 * 4 * 3)
    assert not targets.requires_grad
    torch.testing.assert_close(targets, tubelets(backbone.normalized(videos()), 2, 4)[0])


def test_the_vit_fills_each_clip_up_by_itself():
    backbone = build("video-vit-small", {**INFO, "frames": 5})
    first, second = videos(T=5, seed=1), videos(T=5, seed=2)
    pixels = backbone.targets({"video": torch.cat([first, second], dim=1)})
    assert backbone.tokenize({"video": torch.cat([first, second], dim=1)}).grid == (6, 8, 8)
    torch.testing.assert_close(pixels, torch.cat([backbone.targets({"video": each}) for each in (first, second)], dim=1))


@torch.no_grad()
def test_kept_tokens_of_the_vit_see_those_of_their_own_clip_alone():
    backbone = build("video-vit-small")
    first, second, other = (videos(seed=seed) for seed in (1, 2, 3))
    keep = torch.tensor([[3, 300, 50, 511]] * len(first))
    kept = [
        backbone.encode(backbone.tokenize({"video": torch.cat([first, each], dim=1)}), keep=keep) for each in (second, other)
    ]
    torch.testing.assert_close(kept[0][:, [0, 2]], kept[1][:, [0, 2]])
    assert not torch.allclose(kept[0][:, [1, 3]], kept[1][:, [1, 3]], atol=1e-3)
    alone = backbone.encode(backbone.tokenize({"video": first}), keep=keep[:, [0, 2]])
    torch.testing.assert_close(kept[0][:, [0, 2]], alone, atol=1e-5, rtol=1e-4)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="patch_size=5 does not divide the image size 32"):
        build("video-vit-small", patch_size=5)
    with pytest.raises(ConfigError, match=r"frames of 30x30 pixels cannot be cut into tubelets of 4"):
        encode(build("video-vit-small"), videos(side=30))


@pytest.mark.parametrize(("size", "grid"), [(16, (2, 2, 2)), (32, (2, 2, 2)), (64, (2, 2, 2)), (112, (2, 4, 4))])
def test_the_stem_follows_the_image_size(size, grid):
    assert encode(build("conv3d-small", {**INFO, "image_size": size}), videos(1, side=size)).grid == grid
