import pytest
import torch
import torchvision.transforms.v2.functional as TF
from pydantic import ValidationError

from selfsup.testing.kit.fake_device import fake_cuda
from selfsup_images import pipeline
from selfsup_images.blur import kernel_size_for
from selfsup_vision.augmentations import ImageViews, ImageViewsConfig, ShiftViews, ShiftViewsConfig


def _batch(n: int = 12, size: int = 32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {"image": torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)}


def _views(size: int = 32, **options: object) -> ImageViews:
    return ImageViews(ImageViewsConfig(**options), {"image_size": size})  # type: ignore[arg-type]


def _seed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_views_have_the_stated_number_size_and_range() -> None:
    views = _views(n_local=3)(_batch(), _seed(0))
    assert [tuple(view["image"].shape) for view in views] == [(12, 3, 32, 32)] * 2 + [(12, 3, 12, 12)] * 3
    for view in views:
        assert view["image"].dtype == torch.float32
        assert 0 <= float(view["image"].min()) <= float(view["image"].max()) <= 1
        assert view["crop"].shape == (12, 2, 2)


def test_views_are_a_function_of_the_seed() -> None:
    views = _views(64, n_local=1, solarize_p=(0.5,))
    batch = _batch(size=64)
    first, again, other = views(batch, _seed(1)), views(batch, _seed(1)), views(batch, _seed(2))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0]["image"], other[0]["image"])
    assert not torch.equal(first[0]["image"], first[1]["image"])


def test_views_leave_their_input_and_the_global_generator_alone() -> None:
    batch = {"image": torch.rand(4, 3, 32, 32)}
    before, state = batch["image"].clone(), torch.get_rng_state()
    _views()(batch, _seed(0))
    assert torch.equal(batch["image"], before)
    assert torch.equal(torch.get_rng_state(), state)


def test_working_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    views, batch = _views(64, n_local=1, solarize_p=(0.4,)), _batch(10, 64)
    whole = views(batch, _seed(0))
    monkeypatch.setattr(pipeline, "_CPU_NUMBERS", (3 * 3 * 64 * 64,) * 2)
    for a, b in zip(whole, views(batch, _seed(0)), strict=True):
        torch.testing.assert_close(a["image"], b["image"], atol=1e-6, rtol=0)


def test_a_whole_view_equals_torchvision_sample_by_sample() -> None:
    size = 64
    views = _views(size, n_global=1, jitter_strength=0.8, grey_p=0.3, solarize_p=(0.5,), blur_p=(0.5,))
    batch = _batch(24, size)
    options = views.views[0]
    drawn = pipeline.draw(options, 24, (size, size), _seed(4), torch.device("cpu"))
    ours = views(batch, _seed(4))[0]["image"]
    index, really, sigma = drawn.blur
    blurred = {int(i): float(s) for i, used, s in zip(index, really, sigma, strict=True) if used}
    solarized = {int(i) for i, used in zip(*drawn.solarize, strict=True) if used}
    assert len(blurred) == len(solarized) == 12
    steps = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    wrong = 0
    for i in range(24):
        image = batch["image"][i] / 255
        image = TF.resized_crop(image, *(int(v) for v in drawn.boxes[i]), size=[size, size], antialias=True)
        image = TF.horizontal_flip(image) if drawn.flip[i] else image
        for step in drawn.jitter.order[i].tolist():
            image = steps[step](image, float(drawn.jitter.factors[i, step]))
        image = TF.rgb_to_grayscale(image, 3) if drawn.grey[i] else image
        image = TF.gaussian_blur(image, [kernel_size_for(size)] * 2, [blurred[i]] * 2) if i in blurred else image
        # A pixel within rounding of the threshold may be inverted in one and not in the other.
        wrong += int(((ours[i] - (TF.solarize(image, 0.5) if i in solarized else image)).abs() > 1e-4).sum())
    assert wrong <= 3


def test_probabilities_of_flip_grey_blur_and_jitter() -> None:
    views = _views(64, n_global=1)
    options, n = views.views[0], 8000
    drawn = pipeline.draw(options, n, (64, 64), _seed(0), torch.device("cpu"))
    assert abs(float(drawn.flip.float().mean()) - 0.5) < 0.025
    assert abs(float(drawn.grey.float().mean()) - 0.2) < 0.02
    assert int(drawn.blur[1].sum()) == n // 2
    assert drawn.solarize[0].numel() == 0
    assert float(drawn.blur[2].min()) >= 0.1
    assert float(drawn.blur[2].max()) <= 2.0


def test_small_images_are_not_blurred_and_jittered_by_half() -> None:
    small, large = _views(32).views[0], _views(96).views[0]
    assert (small.blur_p, large.blur_p) == (0.0, 0.5)
    assert small.jitter == pytest.approx((0.4, 0.4, 0.4, 0.1))
    assert large.jitter == pytest.approx((0.8, 0.8, 0.8, 0.2))


def test_unlike_global_views_take_their_own_probabilities() -> None:
    views = _views(64, n_global=3, n_local=1, blur_p=(1.0, 0.1), solarize_p=(0.0, 0.2))
    assert [v.blur_p for v in views.views] == [1.0, 0.1, 0.1, 0.5]
    assert [v.solarize_p for v in views.views] == [0.0, 0.2, 0.2, 0.0]


def test_crop_says_where_a_pixel_of_the_view_lies_in_the_image() -> None:
    ramp = torch.linspace(0, 1, 64)
    image = torch.stack([ramp.view(1, -1).expand(64, 64), ramp.view(-1, 1).expand(64, 64), torch.zeros(64, 64)])
    view = _views(64, n_global=1, jitter_p=0.0, grey_p=0.0, blur_p=(0.0,))({"image": image.expand(16, -1, -1, -1)}, _seed(0))[0]
    centres = (torch.arange(64) + 0.5) / 64
    y = view["crop"][:, 0, :1] + view["crop"][:, 0, 1:] * centres
    x = view["crop"][:, 1, :1] + view["crop"][:, 1, 1:] * centres
    torch.testing.assert_close(view["image"][:, 0, 32], x, atol=0.02, rtol=0)
    torch.testing.assert_close(view["image"][:, 1, :, 32], y, atol=0.02, rtol=0)


def test_views_run_on_fake_cuda_without_a_sync() -> None:
    views = _views(64, n_local=2, solarize_p=(0.2,))
    with fake_cuda(views, _batch(8, 64)) as batch:
        assert {view["image"].device.type for view in views(batch, None)} == {"cuda"}


@pytest.mark.parametrize(
    "options", [{"global_scale": (0.5, 0.2)}, {"local_scale": (0.1, 1.5)}, {"grey_p": 1.2}, {"nonsense": 1}]
)
def test_bad_view_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageViewsConfig(**options)  # type: ignore[arg-type]


def test_shift_views_move_by_whole_pixels_and_mirror_half() -> None:
    size, n = 16, 600
    image = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size).expand(n, 3, -1, -1)
    view = ShiftViews(ShiftViewsConfig(), {"image_size": size})({"image": image}, _seed(0))[0]["image"]
    assert view.shape == image.shape
    row = view[:, 0, 8].remainder(size)
    mirrored = row[:, 7] > row[:, 8]
    assert abs(float(mirrored.float().mean()) - 0.5) < 0.08
    middle = torch.where(mirrored, row[:, 7], row[:, 8])
    shift = middle - 8
    assert sorted(set(shift.tolist())) == [-2.0, -1.0, 0.0, 1.0, 2.0]
    plain = ~mirrored & (shift == 2)
    assert row[plain][0].tolist() == [*range(2, 16), 14, 13]


def test_views_are_the_same_in_a_run_of_half_precision() -> None:
    views = _views(64, n_local=2, blur_p=(1.0,))
    wanted = views(_batch(size=64), _seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        made = views(_batch(size=64), _seed(0))
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one["image"], other["image"], rtol=0, atol=0)


def _whole(n: int = 400) -> dict[str, torch.Tensor]:
    """Images of 16 x 32 that lie and say in each pixel in which row and column it is, followed by what must not be seen."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(32.0), indexing="ij")
    image = torch.stack([y / 16, x / 32, torch.ones_like(x)])
    stored = torch.full((n, 3, 40, 16), 50.0)
    stored[:, :, :32] = image.transpose(1, 2)
    return {"image": stored, "size": torch.tensor([[16, 32]]).expand(n, -1)}


def test_shifted_views_lie_anywhere_in_a_whole_image() -> None:
    views = ShiftViews(ShiftViewsConfig(padding=0.0, flip_p=0.5), {"image_size": 14})
    view = views(_whole(), _seed(0))[0]["image"]
    assert view.shape == (400, 3, 14, 14)
    assert float(view.max()) == 1
    rows, columns = (view[:, 0] * 16).round(), (view[:, 1] * 32).round()
    assert torch.equal(rows.diff(dim=1), torch.ones(400, 13, 14))
    across = columns.diff(dim=2)
    mirrored = across[:, 0, 0] < 0
    assert torch.equal(across, torch.where(mirrored, -1.0, 1.0).view(-1, 1, 1).expand(-1, 14, 13))
    assert abs(float(mirrored.float().mean()) - 0.5) < 0.1
    assert sorted(set(rows[:, 0, 0].tolist())) == [0, 1, 2]
    assert sorted(set(columns.amin(dim=(1, 2)).tolist())) == list(range(19))
    padded = ShiftViews(ShiftViewsConfig(padding=0.25, flip_p=0.0), {"image_size": 14})(_whole(), _seed(0))[0]["image"]
    top = (padded[:, 0, :, 0] * 16).round()
    # Four pixels to each side of the centre (1), mirrored where the image ends.
    assert sorted({tuple(row[:2]) for row in top.tolist()}) == [
        (0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (3, 4), (4, 5), (5, 6),
    ]  # fmt: skip
    assert float(padded.max()) == 1


def test_views_are_cut_from_whole_images() -> None:
    view = _views(14, jitter_p=0.0, grey_p=0.0, blur_p=(0.0,), flip_p=0.5)(_whole(), _seed(0))[0]
    columns = view["image"][:, 1] * 32
    assert float(view["image"].max()) <= 1 + 1e-6
    assert float(columns.min()) < 2
    assert float(columns.max()) > 29
    # Where the view says that it was cut is where it was.
    top, left = view["crop"][:, 0, 0] * 16, view["crop"][:, 1, 0] * 32
    mirrored = view["crop"][:, 1, 1] < 0
    assert float((view["image"][:, 0, 0, 0] * 16 - top).abs().max()) < 1
    assert float((columns[~mirrored, 0, 0] - left[~mirrored]).abs().max()) < 1.5
    assert float((columns[mirrored, 0, 0] - (left[mirrored] - 1)).abs().max()) < 1.5
