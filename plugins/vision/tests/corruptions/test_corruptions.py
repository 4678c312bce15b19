from typing import Any

import pytest
import torch

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup_vision.backbones.small import NarrowResNetConfig, TinyViTConfig, build_narrow_resnet, build_tiny_vit
from selfsup_vision.corruptions import (
    Colorization,
    ColorizationConfig,
    Inpainting,
    InpaintingConfig,
    Noise,
    NoiseConfig,
)
from selfsup_vision.corruptions.decoder import FeatureMapDecoder, feature_map_side
from selfsup_vision.corruptions.lab import ab_cells, rgb_to_lab

INFO = {"image_size": 24}


def _images(n: int = 32, size: int = 24) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"image": torch.randint(30, 220, (n, 3, size, size), dtype=torch.uint8, generator=generator)}


def _seed() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_masking_noise_blackens_the_stated_share_of_pixels() -> None:
    corrupted = Noise(NoiseConfig(amount=0.25), 24)(_images(), _seed())
    black = (corrupted.batch["image"] == 0).all(dim=1)
    assert abs(float(black.float().mean()) - 0.25) < 0.01
    kept = ~black.unsqueeze(1).expand(-1, 3, -1, -1)
    assert torch.equal(corrupted.batch["image"][kept], corrupted.target[kept])
    torch.testing.assert_close(corrupted.target, _images()["image"] / 255)


def test_salt_and_pepper_are_alike_and_gaussian_noise_has_its_deviation() -> None:
    seen = Noise(NoiseConfig(kind="salt-and-pepper", amount=0.4), 24)(_images(), _seed()).batch["image"]
    assert abs(float((seen == 0).float().mean()) - 0.2) < 0.015
    assert abs(float((seen == 1).float().mean()) - 0.2) < 0.015
    corrupted = Noise(NoiseConfig(kind="gaussian", amount=0.1), 24)(_images(), _seed())
    difference = corrupted.batch["image"] - corrupted.target
    assert abs(float(difference.std()) - 0.1) < 0.002
    assert abs(float(difference.mean())) < 0.002


def test_denoising_loss_is_the_mean_squared_error() -> None:
    noise = Noise(NoiseConfig(), 24)
    corrupted = noise(_images(4), _seed())
    assert float(noise.loss(corrupted.target, corrupted).loss) == 0
    torch.testing.assert_close(noise.loss(corrupted.target + 0.5, corrupted).loss, torch.tensor(0.25))


def test_holes_are_regions_of_any_shape_on_a_quarter_of_each_image() -> None:
    holes = Inpainting(InpaintingConfig(), 32).holes(300, _seed(), torch.device("cpu"))
    assert torch.equal(holes.sum(dim=(1, 2, 3)), torch.full((300,), 256))
    # All places alike, and no border straight for long: few holes are as wide in a row as in the row below it.
    assert float((holes.float().mean(dim=0) - 0.25).abs().max()) < 0.15
    border = (holes[:, :, :, 1:] != holes[:, :, :, :-1]).float()
    straight = (border[:, :, 1:] * border[:, :, :-1]).sum() / border.sum()
    squares = Inpainting(InpaintingConfig(holes="blocks"), 32).holes(300, _seed(), torch.device("cpu"))
    edges = (squares[:, :, :, 1:] != squares[:, :, :, :-1]).float()
    assert float(straight) < 0.5 < float((edges[:, :, 1:] * edges[:, :, :-1]).sum() / edges.sum())
    # In one piece more or less: a pixel of a hole has neighbours in it.
    inside = torch.nn.functional.avg_pool2d(holes.float(), 3, stride=1, padding=1)[holes]
    assert float(inside.mean()) > 0.7
    small = Inpainting(InpaintingConfig(share=0.1), 32).holes(4, _seed(), torch.device("cpu"))
    assert torch.equal(small.sum(dim=(1, 2, 3)), torch.full((4,), 102))


def test_blocks_are_squares_that_cover_about_a_quarter() -> None:
    inpainting = Inpainting(InpaintingConfig(holes="blocks"), 32)
    holes = inpainting.holes(500, _seed(), torch.device("cpu"))
    assert 0.2 < float(holes.float().mean()) < 0.3
    one = Inpainting(InpaintingConfig(holes="blocks", n_holes=1, hole_size=0.5), 32).holes(200, _seed(), torch.device("cpu"))
    assert torch.equal(one.sum(dim=(1, 2, 3)), torch.full((200,), 256))
    rows = one.any(dim=3).squeeze(1).int().argmax(dim=1)
    assert (int(rows.min()), int(rows.max())) == (0, 16)


def test_inpainting_looks_at_holes_alone() -> None:
    inpainting = Inpainting(InpaintingConfig(), 24)
    corrupted = inpainting(_images(4), _seed())
    hole = corrupted.weight.bool().expand(-1, 3, -1, -1)  # type: ignore[union-attr]
    image = corrupted.batch["image"]
    assert torch.equal(image[~hole], corrupted.target[~hole])
    torch.testing.assert_close(image[hole], inpainting.fill.expand_as(image)[hole])
    prediction = torch.where(hole, corrupted.target + 0.5, corrupted.target + 9.0)
    torch.testing.assert_close(inpainting.loss(prediction, corrupted).loss, torch.tensor(0.25))


def test_lab_of_known_colours() -> None:
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]]).T.reshape(1, 3, 1, 5)
    expected = torch.tensor([[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(rgb_to_lab(colors)[0, :, 0].T, expected, atol=0.01, rtol=0)


def test_every_colour_has_the_cell_next_to_it() -> None:
    centres, table = ab_cells(10.0)
    colors = torch.rand(1, 3, 1, 4000, generator=torch.Generator().manual_seed(0))
    ab = rgb_to_lab(colors)[0, 1:, 0].T
    middle = table.shape[0] // 2
    place = (ab / 10).round().long() + middle
    assert float((centres[table[place[:, 0], place[:, 1]]] - ab).abs().max()) <= 5.0 + 1e-3
    assert len(centres) == 260


def test_colorization_shows_lightness_and_asks_for_cells() -> None:
    flat = torch.tensor([0.8, 0.2, 0.3]).view(1, 3, 1, 1).expand(2, 3, 24, 24)
    corruption = Colorization(ColorizationConfig(), 24)
    corrupted = corruption({"image": flat}, None)
    lab = rgb_to_lab(flat)
    torch.testing.assert_close(corrupted.batch["image"], (lab[:, :1] / 100).expand(-1, 3, -1, -1))
    centre = ab_cells(10.0)[0][corrupted.target]
    assert corrupted.target.shape == (2, 6, 6)
    assert float((centre - lab[:, 1:, ::4, ::4].permute(0, 2, 3, 1)).abs().max()) <= 5.0


def test_rare_colours_get_larger_weights_with_a_mean_of_one() -> None:
    corruption = Colorization(ColorizationConfig(frequency_momentum=0.0), 24).train()
    image = torch.tensor([0.8, 0.2, 0.3]).view(1, 3, 1, 1).expand(10, 3, 24, 24).clone()
    image[0] = torch.tensor([0.1, 0.3, 0.9]).view(3, 1, 1)
    first = corruption({"image": image}, None)
    torch.testing.assert_close(first.weight, torch.ones(10, 6, 6))
    corruption.after_step(0.1)
    second = corruption({"image": image}, None)
    assert second.weight is not None
    assert float(second.weight[0].mean()) > 3 * float(second.weight[1].mean())
    torch.testing.assert_close(second.weight.mean(), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_colorization_counts_in_training_only_and_keeps_counts_in_its_state() -> None:
    corruption = Colorization(ColorizationConfig(), 24).eval()
    corruption(_images(4), None)
    uniform = corruption.frequency.clone()
    assert torch.equal(uniform, torch.full_like(uniform, 1 / corruption.n_classes))
    corruption.train()(_images(4), None)
    corruption.after_step(0.1)
    assert not torch.equal(corruption.frequency, uniform)
    torch.testing.assert_close(corruption.frequency.sum(), torch.tensor(1.0))
    assert list(corruption.state_dict()) == ["frequency"]


def test_colorization_regression_has_no_weight() -> None:
    corruption = Colorization(ColorizationConfig(target="regression"), 24)
    corrupted = corruption(_images(4), None)
    assert corrupted.weight is None
    assert corrupted.target.shape == (4, 2, 6, 6)
    assert float(corrupted.target.abs().max()) <= 1.0


@pytest.mark.parametrize("make", [
    lambda: build_narrow_resnet(NarrowResNetConfig(width=8), INFO),
    lambda: build_tiny_vit(TinyViTConfig(embed_dim=16, depth=1, heads=1), INFO),
], ids=["cnn", "vit"])  # fmt: skip
@pytest.mark.parametrize("corruption", [
    Noise(NoiseConfig(), 24),
    Inpainting(InpaintingConfig(), 24),
    Colorization(ColorizationConfig(), 24),
    Colorization(ColorizationConfig(target="regression"), 24),
], ids=lambda corruption: type(corruption).__name__)  # fmt: skip
def test_each_decoder_fits_its_loss(corruption: Any, make: Any) -> None:
    backbone = make()
    decoder = corruption.build_decoder(backbone)
    corrupted = corruption(_images(2), _seed())
    loss = corruption.loss(decoder(backbone(corrupted.batch)), corrupted).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in (*decoder.parameters(), *backbone.parameters()))


def test_probing_for_the_feature_map_leaves_the_backbone_as_it_was() -> None:
    backbone = build_narrow_resnet(NarrowResNetConfig(width=8), INFO).train()
    backbone.model.bn1.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert feature_map_side(backbone, 24) == 3
    assert backbone.training
    assert not backbone.model.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


class _Flat(Backbone):
    modality = "vision"
    embed_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))

    def forward(self, batch: dict[str, torch.Tensor]) -> Encoded:
        return Encoded(self.weight.expand(batch["image"].shape[0], -1))


def test_a_backbone_without_feature_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="_Flat gives none"):
        FeatureMapDecoder(_Flat(), 24, 3, 24, 8)
