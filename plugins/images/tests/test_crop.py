import pytest
import torch

from selfsup_images.crop import box_locations, random_boxes, resized_crop

T = pytest.importorskip("torchvision.transforms.v2", reason="compares with torchvision")
TF = pytest.importorskip("torchvision.transforms.v2.functional", reason="compares with torchvision")
CPU = torch.device("cpu")


def _boxes(n: int, image: tuple[int, int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return random_boxes(n, image, (0.08, 1.0), (3 / 4, 4 / 3), generator=generator, device=CPU)


@pytest.mark.parametrize("size", [40, 56, 24, 13], ids=["same", "grow", "shrink", "shrink-odd"])
def test_resized_crop_equals_torchvision(size: int) -> None:
    image = torch.rand(24, 3, 40, 36, generator=torch.Generator().manual_seed(1))
    boxes = _boxes(24, (40, 36))
    flip = torch.arange(24) % 2 == 0
    ours = resized_crop(image, boxes, size, flip)
    for i in range(24):
        top, left, h, w = (int(v) for v in boxes[i])
        theirs = TF.resized_crop(image[i], top, left, h, w, [size, size], antialias=True)
        theirs = TF.horizontal_flip(theirs) if flip[i] else theirs
        torch.testing.assert_close(ours[i], theirs, atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", [64, 24], ids=["grow", "shrink"])
def test_images_of_different_sizes_are_cropped_as_each_alone(size: int) -> None:
    """The batch is padded, and images that are wider than high are stored transposed."""
    generator = torch.Generator().manual_seed(1)
    sides = torch.tensor([[40, 30], [30, 60], [30, 30], [30, 44]]).repeat(8, 1)
    lying = sides[:, 1] > sides[:, 0]
    image = torch.full((32, 3, 60, 30), 1e6)
    upright = []
    for place, (h, w) in enumerate(sides.tolist()):
        upright.append(torch.rand(3, h, w, generator=generator))
        image[place, :, : max(h, w)] = upright[-1].transpose(1, 2) if w > h else upright[-1]
    boxes = random_boxes(32, sides, (0.08, 1.0), (3 / 4, 4 / 3), generator=generator, device=CPU)
    assert bool((boxes[:, :2] >= 0).all())
    assert bool((boxes[:, :2] + boxes[:, 2:] <= sides).all())
    flip = torch.arange(32) % 3 == 0
    ours = resized_crop(image, boxes, size, flip, lying)
    located = box_locations(boxes, sides, flip)
    for i in range(32):
        top, left, h, w = (int(v) for v in boxes[i])
        theirs = TF.resized_crop(upright[i], top, left, h, w, [size, size], antialias=True)
        theirs = TF.horizontal_flip(theirs) if flip[i] else theirs
        torch.testing.assert_close(ours[i], theirs, atol=2e-5, rtol=0)
        shape = (int(sides[i, 0]), int(sides[i, 1]))
        torch.testing.assert_close(located[i], box_locations(boxes[i : i + 1], shape, flip[i : i + 1])[0])


def test_boxes_reach_the_ends_of_the_image() -> None:
    generator = torch.Generator().manual_seed(0)
    sides = torch.tensor([[32, 64]]).expand(4000, -1)
    boxes = random_boxes(4000, sides, (0.08, 1.0), (3 / 4, 4 / 3), generator=generator, device=CPU)
    top, left, h, w = boxes.unbind(1)
    assert torch.equal(boxes, boxes.round())
    assert bool(((top >= 0) & (left >= 0) & (h >= 1) & (w >= 1) & (top + h <= 32) & (left + w <= 64)).all())
    assert (float(left.min()), float((left + w).max())) == (0, 64)
    # A quarter of the width on each side lies beyond the centre square.
    assert float(((left < 16) | (left + w > 48)).float().mean()) > 0.5


def test_boxes_are_distributed_as_torchvision_draws_them() -> None:
    boxes = _boxes(4000, (64, 48))
    reference = T.RandomResizedCrop(8)
    torch.manual_seed(0)
    image = torch.zeros(3, 64, 48)
    drawn = [reference.make_params([image]) for _ in range(4000)]
    theirs = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in drawn], dtype=torch.float32)
    for column in range(4):
        ours_sorted, theirs_sorted = boxes[:, column].sort().values, theirs[:, column].sort().values
        # Kolmogorov-Smirnov distance; 0.043 is its 0.1 % quantile for two samples of 4000.
        grid = torch.arange(65.0)
        distance = (
            torch.searchsorted(ours_sorted, grid, right=True) - torch.searchsorted(theirs_sorted, grid, right=True)
        ).abs()
        assert float(distance.max()) / 4000 < 0.043, f"column {column}"


def test_boxes_fall_back_to_the_centre_where_no_ratio_fits() -> None:
    boxes = random_boxes(4, (10, 100), (1.0, 1.0), (3 / 4, 4 / 3), generator=None, device=CPU)
    params = T.RandomResizedCrop(8, scale=(1.0, 1.0)).make_params([torch.zeros(3, 10, 100)])
    assert boxes[0].tolist() == [params["top"], params["left"], params["height"], params["width"]]


def test_locations_of_a_mirrored_box_start_at_its_right_edge() -> None:
    boxes = torch.tensor([[10.0, 4.0, 20.0, 8.0]] * 2)
    plain, mirrored = box_locations(boxes, (40, 16), torch.tensor([False, True]))
    torch.testing.assert_close(plain, torch.tensor([[0.25, 0.5], [0.25, 0.5]]))
    torch.testing.assert_close(mirrored, torch.tensor([[0.25, 0.5], [0.75, -0.5]]))
