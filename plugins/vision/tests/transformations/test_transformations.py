import pytest
import torch

from selfsup.errors import ConfigError
from selfsup_vision.transformations import PatchPosition, Rotation, permutation_set
from selfsup_vision.transformations.jigsaw import JigsawConfig, build_jigsaw
from selfsup_vision.transformations.patch_position import PatchPositionConfig, build_patch_position
from selfsup_vision.transformations.tiles import cut, join, take


def _images(n: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_rotation_gives_all_four_of_each_image() -> None:
    images = _images(5, 12)
    out = Rotation()({"image": images}, None)
    assert out.label.tolist() == [0, 1, 2, 3] * 5
    for turned, label, source in zip(out.batch["image"], out.label, images.repeat_interleave(4, dim=0), strict=True):
        assert torch.equal(turned, torch.rot90(source, int(label), dims=(1, 2)))


@pytest.mark.parametrize("size", [30, 32], ids=["divisible", "not-divisible"])
def test_patch_positions_put_the_image_back_together(size: int) -> None:
    images, n = _images(6, size), 3
    out = PatchPosition(n)({"image": images}, torch.Generator().manual_seed(0))
    assert out.batch["image"].shape == images.shape
    assert out.batch["image"].dtype == torch.uint8
    place = (out.label * (n - 1)).round().long()
    order = place[..., 1] * n + place[..., 0]
    assert torch.equal(order.sort(dim=1).values, torch.arange(n * n).expand(6, -1))
    mended = take(cut(out.batch["image"], n), order.argsort(dim=1))
    assert torch.equal(mended, cut(images, n))


def test_patch_position_draws_every_place_alike() -> None:
    images = torch.zeros(6000, 3, 6, 6)
    label = PatchPosition(3)({"image": images}, torch.Generator().manual_seed(0)).label
    first = (label[:, 0] * 2).round().long()
    counts = torch.bincount(first[:, 1] * 3 + first[:, 0], minlength=9) / 6000
    assert float((counts - 1 / 9).abs().max()) < 0.02


def test_the_border_of_an_indivisible_image_is_mid_grey() -> None:
    out = PatchPosition(3)({"image": torch.ones(1, 3, 11, 11)}, None).batch["image"]
    assert torch.equal(out[0, 0, :, 0], torch.full((11,), 0.5))
    assert torch.equal(out[0, 0, 1:10, 1:10], torch.ones(9, 9))


def test_join_reverses_cut() -> None:
    images = _images(2, 24)
    assert torch.equal(join(cut(images, 4), 4, (24, 24), 0.0), images)


def test_jigsaw_label_names_the_order() -> None:
    # Every cell has one grey value, so that the order can be read off.
    cells = torch.arange(9, dtype=torch.float32).view(1, 9, 1, 1, 1).expand(40, 9, 3, 10, 10) / 10
    images = join(cells, 3, (30, 30), 0.0)
    jigsaw = build_jigsaw(JigsawConfig(normalize_tiles=False), {"image_size": 30})
    out = jigsaw({"image": images}, torch.Generator().manual_seed(0))
    tiles = out.batch["image"].view(40, 9, 3, jigsaw.tile_size, jigsaw.tile_size)
    read = (tiles[:, :, 0, 0, 0] * 10).round().long()
    assert torch.equal(read, jigsaw.orders[out.label])
    assert jigsaw.n_outputs == 100


def test_jigsaw_tiles_are_cut_at_every_place_and_normalised() -> None:
    images = torch.arange(32.0).view(1, 1, 1, 32).expand(2000, 3, 32, 32) / 32
    jigsaw = build_jigsaw(JigsawConfig(normalize_tiles=False), {"image_size": 32})
    left = jigsaw({"image": images}, torch.Generator().manual_seed(0)).batch["image"][:, 0, 0, 0]
    offset = (left * 32 - 1).remainder(10).round()
    counts = torch.bincount(offset.long(), minlength=3) / len(offset)
    assert jigsaw.tile_size == 8
    assert float((counts - 1 / 3).abs().max()) < 0.02
    normalised = build_jigsaw(JigsawConfig(), {"image_size": 32})({"image": _images(8, 32)}, None).batch["image"]
    torch.testing.assert_close(normalised.mean(dim=(2, 3)), torch.full((72, 3), 0.45), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std(dim=(2, 3)), torch.full((72, 3), 0.225), atol=5e-3, rtol=0)


def test_permutation_sets_are_far_apart() -> None:
    for n, count, least in ((9, 60, 7), (4, 12, 3)):
        orders = permutation_set(n, count)
        distance = (orders[:, None] != orders[None]).sum(axis=-1)
        assert orders.shape == (count, n)
        assert int(distance[distance > 0].min()) >= least
    assert len(permutation_set(4, 100)) == 24


def test_images_too_small_for_their_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"larger processor\.image_size"):
        build_jigsaw(JigsawConfig(), {"image_size": 9})
    with pytest.raises(ConfigError, match="too many patches"):
        build_patch_position(PatchPositionConfig(n=8), {"image_size": 12})
