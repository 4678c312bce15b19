from itertools import permutations

import numpy as np
import pytest
import torch

from selfsup.errors import ConfigError
from selfsup_vision.transformations import PatchPosition, Rotation, permutation_set
from selfsup_vision.transformations.jigsaw import Jigsaw, JigsawConfig
from selfsup_vision.transformations.patch_position import PatchPositionConfig
from selfsup_vision.transformations.rotation import RotationConfig
from selfsup_vision.transformations.tiles import cut, join, take


def _images(n: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_rotation_gives_all_four_of_each_image() -> None:
    images = _images(5, 12)
    out = Rotation(RotationConfig(), {})({"image": images}, None)
    assert out.label.tolist() == [0, 1, 2, 3] * 5
    for turned, label, source in zip(out.batch["image"], out.label, images.repeat_interleave(4, dim=0), strict=True):
        assert torch.equal(turned, torch.rot90(source, int(label), dims=(1, 2)))


BARE = {"gap": 0.0, "jitter": 0.0, "color_guard": "none"}
"""Patches that touch, without any guard against shortcuts."""


def _patches(n: int, size: int, **options: object) -> PatchPosition:
    return PatchPosition(PatchPositionConfig(n=n, **options), {"image_size": size})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [30, 32], ids=["divisible", "not-divisible"])
def test_patch_positions_put_the_image_back_together(size: int) -> None:
    images, n = _images(6, size), 3
    out = _patches(n, size, **BARE)({"image": images}, torch.Generator().manual_seed(0))
    assert out.batch["image"].shape == images.shape
    place = (out.label * (n - 1)).round().long()
    order = place[..., 1] * n + place[..., 0]
    assert torch.equal(order.sort(dim=1).values, torch.arange(n * n).expand(6, -1))
    restored = take(cut(out.batch["image"], n), order.argsort(dim=1))
    torch.testing.assert_close(restored, cut(images, n) / 255)


def test_patch_position_draws_every_place_alike() -> None:
    images = torch.zeros(6000, 3, 9, 9)
    label = _patches(3, 9)({"image": images}, torch.Generator().manual_seed(0)).label
    first = (label[:, 0] * 2).round().long()
    counts = torch.bincount(first[:, 1] * 3 + first[:, 0], minlength=9) / 6000
    assert float((counts - 1 / 9).abs().max()) < 0.02


@pytest.mark.parametrize(("size", "patch", "gap", "shift"), [(24, 5, 3, 1), (32, 7, 3, 1), (96, 21, 11, 2), (224, 49, 25, 4)])
def test_patches_have_the_papers_gap_and_jitter(size: int, patch: int, gap: int, shift: int) -> None:
    # Every pixel says in which row and column it lies, so that the source of each patch can be read off.
    ramp = torch.arange(float(size)) / size
    image = torch.stack([ramp.view(-1, 1).expand(size, size), ramp.expand(size, size), torch.zeros(size, size)])
    task, B = _patches(3, size, color_guard="none"), 400 if size < 200 else 60
    out = task({"image": image.expand(B, -1, -1, -1)}, torch.Generator().manual_seed(0))
    tiles, margin = cut(out.batch["image"], 3), (size // 3 - patch) // 2
    order = ((out.label[..., 1] * 6) + out.label[..., 0] * 2).round().long().argsort(dim=1)
    tiles = take(tiles, order)
    inside = tiles[..., margin : margin + patch, margin : margin + patch]
    start = (inside[:, :, :2, 0, 0] * size).round().long()
    end = (inside[:, :, :2, -1, -1] * size).round().long()
    assert torch.equal(end - start, torch.full_like(start, patch - 1))
    columns, ends = start[..., 1].unflatten(1, (3, 3)), end[..., 1].unflatten(1, (3, 3))
    between = columns[:, :, 1:] - ends[:, :, :-1] - 1
    assert (int(between.min()), int(between.max())) == (gap - 2 * shift, gap + 2 * shift)
    offset = start[:, 4] - ((size - size // 3 * 3) // 2 + size // 3 + margin)
    counts = torch.bincount(offset.flatten() + shift, minlength=2 * shift + 1) / offset.numel()
    assert len(counts) == 2 * shift + 1
    assert float((counts - 1 / (2 * shift + 1)).abs().max()) < 0.1
    around = torch.ones(size // 3, size // 3, dtype=torch.bool)
    around[margin : margin + patch, margin : margin + patch] = False
    assert torch.equal(tiles[..., around], torch.full_like(tiles[..., around], 0.45))


def _solved_by_seams(task: PatchPosition, images: torch.Tensor) -> float:
    """How often the patch whose left border is most like another's right border is its right neighbour; chance: 1/8."""
    out, n = task({"image": images}, torch.Generator().manual_seed(0)), task.n
    order = (out.label[..., 1] * (n - 1) * n + out.label[..., 0] * (n - 1)).round().long()
    tiles = take(cut(out.batch["image"], n), order.argsort(dim=1))
    margin = (task.cell - task.patch) // 2
    inside = tiles[..., margin : margin + task.patch, margin : margin + task.patch]
    left, right = (inside[..., side].flatten(2) for side in (0, -1))
    distance = torch.cdist(right, left) + 1e9 * torch.eye(n * n)
    asked = [place for place in range(n * n) if place % n < n - 1]
    return float((distance.argmin(dim=2)[:, asked] == torch.tensor(asked) + 1).float().mean())


def test_seams_do_not_give_neighbours_away() -> None:
    noise = torch.rand(200, 3, 52, 52, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.avg_pool2d(noise, 5, stride=1)  # correlated with its neighbours up to four pixels away only
    assert _solved_by_seams(_patches(3, 48, **BARE), images) > 0.8
    assert abs(_solved_by_seams(_patches(3, 48), images) - 1 / 8) < 0.05


def test_the_colour_guards_hide_what_lenses_do() -> None:
    images = torch.rand(50, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    projected = _patches(3, 24)({"image": images}, torch.Generator().manual_seed(0)).batch["image"]
    along = 2 * projected[:, 1] - projected[:, 0] - projected[:, 2]
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-6, rtol=0)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    kept, projected = (
        _patches(3, 24, color_guard=guard)({"image": grey}, torch.Generator().manual_seed(0)).batch["image"]
        for guard in ("none", "projection")
    )
    torch.testing.assert_close(kept, projected)
    dropped = _patches(3, 24, color_guard="dropping")({"image": images}, torch.Generator().manual_seed(0)).batch["image"]
    spread = cut(dropped, 3)[..., 1:6, 1:6].std(dim=(3, 4)).sort(dim=2).values
    assert float((spread[..., 0] / spread[..., 2]).mean()) < 0.02
    assert float((spread[..., 1] / spread[..., 2]).mean()) < 0.02
    most = cut(dropped, 3)[..., 1:6, 1:6].std(dim=(3, 4)).argmax(dim=2).flatten()
    assert float((torch.bincount(most, minlength=3) / len(most) - 1 / 3).abs().max()) < 0.06


def test_the_border_of_an_indivisible_image_is_grey() -> None:
    out = _patches(3, 11, **BARE)({"image": torch.ones(1, 3, 11, 11)}, None).batch["image"]
    assert torch.equal(out[0, 0, :, 0], torch.full((11,), 0.45))
    assert torch.equal(out[0, 0, 1:10, 1:10], torch.ones(9, 9))


def test_jigsaw_label_names_the_order() -> None:
    # Every cell has one grey value, so that the order can be read off.
    cells = torch.arange(9, dtype=torch.float32).view(1, 9, 1, 1, 1).expand(40, 9, 3, 10, 10) / 10
    images = join(cells, 3, (30, 30), 0.0)
    jigsaw = Jigsaw(JigsawConfig(normalize_tiles=False), {"image_size": 30})
    out = jigsaw({"image": images}, torch.Generator().manual_seed(0))
    tiles = out.batch["image"].view(40, 9, 3, jigsaw.tile_size, jigsaw.tile_size)
    read = (tiles[:, :, 0, 0, 0] * 10).round().long()
    assert torch.equal(read, jigsaw.orders[out.label])
    assert jigsaw.n_outputs == 100


def test_jigsaw_tiles_are_cut_at_every_place_and_normalised() -> None:
    images = torch.arange(32.0).view(1, 1, 1, 32).expand(2000, 3, 32, 32) / 32
    jigsaw = Jigsaw(JigsawConfig(normalize_tiles=False, grey_p=0.0), {"image_size": 32})
    left = jigsaw({"image": images}, torch.Generator().manual_seed(0)).batch["image"][:, 0, 0, 0]
    offset = (left * 32 - 1).remainder(10).round()
    counts = torch.bincount(offset.long(), minlength=3) / len(offset)
    assert jigsaw.tile_size == 8
    assert float((counts - 1 / 3).abs().max()) < 0.02
    normalised = Jigsaw(JigsawConfig(), {"image_size": 32})({"image": _images(8, 32)}, None).batch["image"]
    torch.testing.assert_close(normalised.mean(dim=(2, 3)), torch.full((72, 3), 0.45), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std(dim=(2, 3)), torch.full((72, 3), 0.225), atol=5e-3, rtol=0)


def test_the_permutation_set_is_chosen_as_in_the_paper() -> None:
    """Algorithm 1 by hand: each order has the largest sum of distances to those before."""
    every = [list(order) for order in permutations(range(4))]
    chosen = permutation_set(4, 24).tolist()
    for step in range(1, 24):
        sums = {
            tuple(order): sum(a != b for before in chosen[:step] for a, b in zip(order, before, strict=True))
            for order in every
            if order not in chosen[:step]
        }
        assert sums[tuple(chosen[step])] == max(sums.values())
    assert len(permutation_set(4, 100)) == 24
    orders = permutation_set(9, 100)
    distance = (orders[:, None] != orders[None]).sum(axis=-1)[~np.eye(100, dtype=bool)]
    assert len({bytes(order) for order in orders}) == 100
    assert float(distance.mean()) > 8.0


def test_jigsaw_shows_some_images_in_grey_and_shifts_the_channels_of_the_others() -> None:
    # The three channels hold the column, so that they differ where they were shifted against each other.
    size = 240
    ramp = (torch.arange(float(size)) / size).expand(60, 3, size, size)
    jigsaw = Jigsaw(JigsawConfig(normalize_tiles=False), {"image_size": size})
    tiles = jigsaw({"image": ramp}, torch.Generator().manual_seed(0)).batch["image"].unflatten(0, (60, 9))
    place = (tiles[:, :, :, 0, 0] * size).round()
    apart = torch.stack([place[:, :, 0] - place[:, :, 1], place[:, :, 2] - place[:, :, 1]])
    assert jigsaw.tile_size == 64
    assert 0 < float(apart.abs().max()) <= 4
    still = (apart == 0).all(dim=(0, 2))
    assert 0.1 < float(still.float().mean()) < 0.5
    colours = torch.rand(2000, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    small = Jigsaw(JigsawConfig(normalize_tiles=False), {"image_size": 24})
    tiles = small({"image": colours}, torch.Generator().manual_seed(0)).batch["image"].unflatten(0, (2000, 9))
    grey = (tiles - tiles.mean(dim=2, keepdim=True)).abs().amax(dim=(2, 3, 4)) < 1e-6
    assert torch.equal(grey.all(dim=1), grey.any(dim=1))
    assert abs(float(grey[:, 0].float().mean()) - 0.3) < 0.03
    off = JigsawConfig(normalize_tiles=False, grey_p=0.0, channel_shift=0.0)
    tiles = Jigsaw(off, {"image_size": size})({"image": ramp[:4]}, None).batch["image"]
    assert torch.equal(tiles[:, 0], tiles[:, 2])


def test_images_too_small_for_their_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"larger processor\.image_size"):
        Jigsaw(JigsawConfig(), {"image_size": 9})
    with pytest.raises(ConfigError, match="too many patches"):
        PatchPosition(PatchPositionConfig(n=8), {"image_size": 12})
