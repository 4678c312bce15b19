import pytest
import torch

from selfsup.backbones import Encoded
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.tasks import Corrupted
from selfsup_video.corruptions import Noise, NoiseConfig
from selfsup_video.corruptions.decoder import VideoDecoder

INFO = {"frames": 4, "clips": 1, "image_size": 16}


def batch(B=4, T=4):
    return {"video": torch.randint(1, 256, (B, T, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))}


def corrupt(**options):
    return Noise(NoiseConfig(**options), INFO)(batch(64), torch.Generator().manual_seed(1))


def test_pixels_are_blackened_in_all_channels_and_independently_in_each_frame():
    corrupted = corrupt(amount=0.25)
    black = corrupted.batch["video"] == 0
    torch.testing.assert_close(corrupted.target, batch(64)["video"] / 255)
    assert torch.equal(black.all(dim=2), black.any(dim=2))
    assert float(black.float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float((black[:, 0] & black[:, 1]).float().mean()) == pytest.approx(0.0625, abs=0.01)
    assert torch.equal(corrupted.batch["video"][~black], corrupted.target[~black])


def test_whole_frames_are_blackened():
    black = corrupt(kind="frames", amount=0.5).batch["video"] == 0
    assert torch.equal(black.all(dim=(2, 3, 4)), black.any(dim=4).any(dim=3).any(dim=2))
    assert float(black.float().mean()) == pytest.approx(0.5, abs=0.1)


def test_gaussian_noise_has_the_stated_deviation():
    corrupted = corrupt(kind="gaussian", amount=0.1)
    assert float((corrupted.batch["video"] - corrupted.target).std()) == pytest.approx(0.1, abs=0.001)


def test_the_loss_is_the_squared_error():
    noise = Noise(NoiseConfig(), INFO)
    target = torch.rand(2, 4, 3, 16, 16)
    assert float(noise.loss((target + 0.5).double(), Corrupted({}, target)).loss) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("name", "options", "clips"),
    [
        ("conv3d-small", {"width": 8}, 2),
        ("video-vit-small", {"embed_dim": 16, "heads": 1, "depth": 1}, 1),
        ("timm-frames/test_resnet", {}, 2),
    ],
)
def test_the_decoder_gives_a_video_and_leaves_the_backbone_as_it_was(name, options, clips):
    info = {**INFO, "clips": clips, "image_size": 32}
    backbone, _ = registry().build_backbone(name, options, info)
    part = next(backbone.train().children()).eval()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    decoder = VideoDecoder(backbone, info, 16)
    assert backbone.training
    assert not part.training
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    video = torch.rand(2, 4 * clips, 3, 32, 32)
    out = decoder(backbone({"video": video}))
    assert out.shape == video.shape
    out.square().mean().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_a_backbone_without_a_feature_map_is_refused():
    backbone, _ = registry().build_backbone("timm-frames/mobilenetv3_small_050", {}, INFO)
    with pytest.raises(ConfigError, match="FramesBackbone gives none"):
        VideoDecoder(backbone, INFO, 16)
    good, _ = registry().build_backbone("conv3d-small", {"width": 8}, INFO)
    with pytest.raises(ConfigError, match="without one"):
        VideoDecoder(good, INFO, 16)(Encoded(torch.zeros(1, 64)))
