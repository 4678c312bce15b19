import pytest
import torch

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup_vision.corruptions import Colorization, ColorizationConfig, Inpainting, InpaintingConfig, Noise, NoiseConfig
from selfsup_vision.corruptions.decoder import FeatureMapDecoder
from selfsup_vision.corruptions.lab import ab_cells, rgb_to_lab

CPU = torch.device("cpu")
INFO = {"image_size": 24}
RED = torch.tensor([0.8, 0.2, 0.3]).view(1, 3, 1, 1)


@pytest.fixture
def batch(images):
    return {"image": images(32, 24, 30, 220)}


def test_masking_noise_blackens_the_stated_share_of_pixels(batch, seeded):
    noise = Noise(NoiseConfig(amount=0.25), INFO)
    corrupted = noise(batch, seeded())
    black = (corrupted.batch["image"] == 0).all(dim=1)
    assert abs(float(black.float().mean()) - 0.25) < 0.01
    kept = ~black.unsqueeze(1).expand(-1, 3, -1, -1)
    assert torch.equal(corrupted.batch["image"][kept], corrupted.target[kept])
    torch.testing.assert_close(corrupted.target, batch["image"] / 255)
    torch.testing.assert_close(noise.loss(corrupted.target + 0.5, corrupted).loss, torch.tensor(0.25))


def test_salt_and_pepper_are_equally_frequent_and_gaussian_noise_has_its_deviation(batch, seeded):
    seen = Noise(NoiseConfig(kind="salt-and-pepper", amount=0.4), INFO)(batch, seeded()).batch["image"]
    assert [float((seen == value).float().mean()) for value in (0, 1)] == pytest.approx([0.2, 0.2], abs=0.015)
    corrupted = Noise(NoiseConfig(kind="gaussian", amount=0.1), INFO)(batch, seeded())
    difference = corrupted.batch["image"] - corrupted.target
    assert float(difference.std()) == pytest.approx(0.1, abs=0.002)
    assert float(difference.mean()) == pytest.approx(0, abs=0.002)


def _straight(holes: torch.Tensor) -> float:
    """How often the border of a hole goes straight on from one row to the next."""
    border = (holes[:, :, :, 1:] != holes[:, :, :, :-1]).float()
    return float((border[:, :, 1:] * border[:, :, :-1]).sum() / border.sum())


def test_holes_are_regions_of_any_shape_on_a_quarter_of_each_image(seeded):
    holes = Inpainting(InpaintingConfig(), {"image_size": 32}).holes(300, seeded(1), CPU)
    assert torch.equal(holes.sum(dim=(1, 2, 3)), torch.full((300,), 256))
    assert float((holes.float().mean(dim=0) - 0.25).abs().max()) < 0.15  # at all places alike
    squares = Inpainting(InpaintingConfig(holes="blocks"), {"image_size": 32}).holes(300, seeded(1), CPU)
    assert _straight(holes) < 0.5 < _straight(squares)
    # In few pieces: most neighbours of a pixel in a hole are in it too.
    inside = torch.nn.functional.avg_pool2d(holes.float(), 3, stride=1, padding=1)[holes]
    assert float(inside.mean()) > 0.7
    small = Inpainting(InpaintingConfig(share=0.1), {"image_size": 32}).holes(4, seeded(), CPU)
    assert torch.equal(small.sum(dim=(1, 2, 3)), torch.full((4,), 102))


def test_blocks_are_squares_that_cover_about_a_quarter(seeded):
    holes = Inpainting(InpaintingConfig(holes="blocks"), {"image_size": 32}).holes(500, seeded(1), CPU)
    assert 0.2 < float(holes.float().mean()) < 0.3
    one = Inpainting(InpaintingConfig(holes="blocks", n_holes=1, hole_size=0.5), {"image_size": 32}).holes(200, seeded(1), CPU)
    assert torch.equal(one.sum(dim=(1, 2, 3)), torch.full((200,), 256))
    rows = one.any(dim=3).squeeze(1).int().argmax(dim=1)
    assert (int(rows.min()), int(rows.max())) == (0, 16)


def test_the_loss_of_inpainting_is_that_of_the_holes(batch, seeded):
    inpainting = Inpainting(InpaintingConfig(), INFO)
    corrupted = inpainting(batch, seeded())
    hole, image = corrupted.weight.bool().expand(-1, 3, -1, -1), corrupted.batch["image"]
    assert torch.equal(image[~hole], corrupted.target[~hole])
    torch.testing.assert_close(image[hole], inpainting.fill.expand_as(image)[hole])
    prediction = torch.where(hole, corrupted.target + 0.5, corrupted.target + 9.0)
    torch.testing.assert_close(inpainting.loss(prediction, corrupted).loss, torch.tensor(0.25))


def test_lab_of_known_colours_and_their_cells():
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]]).T.reshape(1, 3, 1, 5)
    expected = torch.tensor([[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(rgb_to_lab(colors)[0, :, 0].T, expected, atol=0.01, rtol=0)
    centres, table = ab_cells(10.0)
    ab = rgb_to_lab(torch.rand(1, 3, 1, 4000, generator=torch.Generator().manual_seed(0)))[0, 1:, 0].T
    place = (ab / 10).round().long() + table.shape[0] // 2
    assert float((centres[table[place[:, 0], place[:, 1]]] - ab).abs().max()) <= 5.0 + 1e-3
    assert len(centres) == 260


def test_colorization_shows_lightness_and_predicts_cells():
    flat = RED.expand(2, 3, 24, 24)
    corrupted = Colorization(ColorizationConfig(), INFO)({"image": flat}, None)
    lab = rgb_to_lab(flat)
    torch.testing.assert_close(corrupted.batch["image"], (lab[:, :1] / 100).expand(-1, 3, -1, -1))
    centre = ab_cells(10.0)[0][corrupted.target]
    assert corrupted.target.shape == (2, 6, 6)
    assert float((centre - lab[:, 1:, ::4, ::4].permute(0, 2, 3, 1)).abs().max()) <= 5.0
    regression = Colorization(ColorizationConfig(target="regression"), INFO)({"image": flat}, None)
    assert regression.weight is None
    assert regression.target.shape == (2, 2, 6, 6)
    assert float(regression.target.abs().max()) <= 1.0
    with pytest.raises(ConfigError, match=r"5 channels.*choose another task"):
        Colorization(ColorizationConfig(), {"image_size": 32, "channels": 5})


def test_rare_colours_get_larger_weights_with_a_mean_of_one():
    corruption = Colorization(ColorizationConfig(frequency_momentum=0.0), INFO).train()
    image = RED.expand(10, 3, 24, 24).clone()
    image[0] = torch.tensor([0.1, 0.3, 0.9]).view(3, 1, 1)
    torch.testing.assert_close(corruption({"image": image}, None).weight, torch.ones(10, 6, 6))
    corruption.after_step(0.1)
    weight = corruption({"image": image}, None).weight
    assert float(weight[0].mean()) > 3 * float(weight[1].mean())
    torch.testing.assert_close(weight.mean(), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_colorization_counts_in_training_only_and_keeps_counts_in_its_state(batch):
    corruption = Colorization(ColorizationConfig(), INFO).eval()
    corruption(batch, None)
    corruption.after_step(0.1)
    uniform = torch.full_like(corruption.frequency, 1 / corruption.n_classes)
    assert torch.equal(corruption.frequency, uniform)
    corruption.train()(batch, None)
    corruption.after_step(0.1)
    assert not torch.equal(corruption.frequency, uniform)
    torch.testing.assert_close(corruption.frequency.sum(), torch.tensor(1.0))
    assert list(corruption.state_dict()) == ["frequency"]


class _Flat(Backbone):
    modality = "vision"
    embed_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))

    def forward(self, batch: dict[str, torch.Tensor]) -> Encoded:
        return Encoded(self.weight.expand(batch["image"].shape[0], -1))


@pytest.mark.parametrize(
    ("name", "options"), [("resnet-narrow", {"width": 8}), ("vit-tiny", {"embed_dim": 16, "depth": 1, "heads": 1})]
)
def test_the_decoder_gives_an_image_and_leaves_the_backbone_as_it_was(batch, name, options):
    backbone, _ = registry().build_backbone(name, options, {"image_size": 24})
    part = next(backbone.train().model.children()).eval()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    decoder = FeatureMapDecoder(backbone, 24, 5, 24, 16)
    assert backbone.training
    assert not part.training
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    out = decoder(backbone(batch))
    assert out.shape == (32, 5, 24, 24)
    out.square().mean().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_a_backbone_without_feature_map_is_refused():
    with pytest.raises(ConfigError, match="_Flat gives none"):
        FeatureMapDecoder(_Flat(), 24, 3, 24, 8)
