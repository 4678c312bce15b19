import pytest
import torch
import torchvision.transforms.v2.functional as TF
from pydantic import ValidationError

from selfsup_images import pipeline
from selfsup_images.blur import kernel_size_for
from selfsup_vision.augmentations import ImageViews, ImageViewsConfig, ShiftViews, ShiftViewsConfig
from selfsup_vision.augmentations import views as views_module

PLAIN = {"jitter_p": 0.0, "grey_p": 0.0, "blur_p": (0.0,)}


def _views(size: int = 32, **options: object) -> ImageViews:
    return ImageViews(ImageViewsConfig(**options), {"image_size": size})  # type: ignore[arg-type]


def test_number_size_and_range_of_views(images, seeded):
    views = _views(n_local=3)({"image": images(12)}, seeded())
    assert [tuple(view["image"].shape) for view in views] == [(12, 3, 32, 32)] * 2 + [(12, 3, 12, 12)] * 3
    for view in views:
        assert view["image"].dtype == torch.float32
        assert 0 <= float(view["image"].min()) <= float(view["image"].max()) <= 1
        assert view["crop"].shape == (12, 2, 2)


def test_views_follow_their_seed_alone(images, seeded, monkeypatch):
    views = _views(64, n_local=1, solarize_p=(0.4,))
    batch = {"image": images(10, 64) / 255}
    before, state = batch["image"].clone(), torch.get_rng_state()
    first, other = views(batch, seeded(1)), views(batch, seeded(2))
    assert not torch.equal(first[0]["image"], other[0]["image"])
    assert not torch.equal(first[0]["image"], first[1]["image"])
    with torch.autocast("cpu", torch.bfloat16):  # the run's precision does not change them
        again = views(batch, seeded(1))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert torch.equal(batch["image"], before)
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(pipeline, "_CPU_NUMBERS", (3 * 3 * 64 * 64,) * 2)  # in parts of three images
    for a, b in zip(first, views(batch, seeded(1)), strict=True):
        torch.testing.assert_close(a["image"], b["image"], atol=1e-6, rtol=0)


def test_a_whole_view_equals_torchvision_sample_by_sample(images, seeded):
    size = 64
    views = _views(size, n_global=1, jitter_strength=0.8, grey_p=0.3, solarize_p=(0.5,), blur_p=(0.5,))
    batch = {"image": images(24, size)}
    drawn = pipeline.draw(views.views[0], 24, (size, size), seeded(4), torch.device("cpu"))
    ours = views(batch, seeded(4))[0]["image"]
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


def test_probabilities_and_amounts(seeded):
    options, n = _views(64, n_global=1).views[0], 8000
    drawn = pipeline.draw(options, n, (64, 64), seeded(), torch.device("cpu"))
    assert abs(float(drawn.flip.float().mean()) - 0.5) < 0.025
    assert abs(float(drawn.grey.float().mean()) - 0.2) < 0.02
    assert int(drawn.blur[1].sum()) == n // 2
    assert drawn.solarize[0].numel() == 0
    assert 0.1 <= float(drawn.blur[2].min()) < float(drawn.blur[2].max()) <= 2.0
    small, large = _views(32).views[0], _views(96).views[0]
    assert (small.blur_p, large.blur_p) == (0.0, 0.5)  # SimCLR, appendix B.9
    assert small.jitter == pytest.approx((0.4, 0.4, 0.4, 0.1))
    assert large.jitter == pytest.approx((0.8, 0.8, 0.8, 0.2))
    views = _views(64, n_global=3, n_local=1, blur_p=(1.0, 0.1), solarize_p=(0.0, 0.2))
    assert [v.blur_p for v in views.views] == [1.0, 0.1, 0.1, 0.5]
    assert [v.solarize_p for v in views.views] == [0.0, 0.2, 0.2, 0.0]


def test_crop_says_where_a_pixel_of_the_view_lies_in_the_image(seeded):
    ramp = torch.linspace(0, 1, 64)
    image = torch.stack([ramp.view(1, -1).expand(64, 64), ramp.view(-1, 1).expand(64, 64), torch.zeros(64, 64)])
    view = _views(64, n_global=1, **PLAIN)({"image": image.expand(16, -1, -1, -1)}, seeded())[0]
    centres = (torch.arange(64) + 0.5) / 64
    y = view["crop"][:, 0, :1] + view["crop"][:, 0, 1:] * centres
    x = view["crop"][:, 1, :1] + view["crop"][:, 1, 1:] * centres
    torch.testing.assert_close(view["image"][:, 0, 32], x, atol=0.02, rtol=0)
    torch.testing.assert_close(view["image"][:, 1, :, 32], y, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "options", [{"global_scale": (0.5, 0.2)}, {"local_scale": (0.1, 1.5)}, {"grey_p": 1.2}, {"nonsense": 1}]
)
def test_bad_view_options_are_refused(options):
    with pytest.raises(ValidationError):
        ImageViewsConfig(**options)


def test_shift_views_move_by_whole_pixels_and_mirror_half(seeded):
    size, n = 16, 600
    image = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size).expand(n, 3, -1, -1)
    view = ShiftViews(ShiftViewsConfig(), {"image_size": size})({"image": image}, seeded())[0]["image"]
    row = view[:, 0, 8].remainder(size)
    mirrored = row[:, 7] > row[:, 8]
    assert abs(float(mirrored.float().mean()) - 0.5) < 0.08
    shift = torch.where(mirrored, row[:, 7], row[:, 8]) - 8
    assert sorted(set(shift.tolist())) == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert row[~mirrored & (shift == 2)][0].tolist() == [*range(2, 16), 14, 13]


def _whole(n: int = 400) -> dict[str, torch.Tensor]:
    """Images of 16 x 32, stored transposed; each pixel holds its row and column, and padding holds 50."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(32.0), indexing="ij")
    image = torch.stack([y / 16, x / 32, torch.ones_like(x)])
    stored = torch.full((n, 3, 40, 16), 50.0)
    stored[:, :, :32] = image.transpose(1, 2)
    return {"image": stored, "size": torch.tensor([[16, 32]]).expand(n, -1)}


def test_shifted_views_lie_anywhere_in_a_whole_image(seeded):
    view = ShiftViews(ShiftViewsConfig(padding=0.0, flip_p=0.5), {"image_size": 14})(_whole(), seeded())[0]["image"]
    assert view.shape == (400, 3, 14, 14)
    assert float(view.max()) == 1
    rows, columns = (view[:, 0] * 16).round(), (view[:, 1] * 32).round()
    assert torch.equal(rows.diff(dim=1), torch.ones(400, 13, 14))
    across = columns.diff(dim=2)
    mirrored = across[:, 0, 0] < 0
    assert torch.equal(across, torch.where(mirrored, -1.0, 1.0).view(-1, 1, 1).expand(-1, 14, 13))
    assert sorted(set(rows[:, 0, 0].tolist())) == [0, 1, 2]
    assert sorted(set(columns.amin(dim=(1, 2)).tolist())) == list(range(19))
    padded = ShiftViews(ShiftViewsConfig(padding=0.25, flip_p=0.0), {"image_size": 14})(_whole(), seeded())[0]["image"]
    top = (padded[:, 0, :, 0] * 16).round()
    # Four pixels to each side of the centre (1), mirrored where the image ends.
    assert sorted({tuple(row[:2]) for row in top.tolist()}) == [
        (0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (3, 4), (4, 5), (5, 6),
    ]  # fmt: skip
    assert float(padded.max()) == 1


def test_views_are_cut_from_whole_images(seeded):
    view = _views(14, flip_p=0.5, **PLAIN)(_whole(), seeded())[0]
    columns = view["image"][:, 1] * 32
    assert float(view["image"].max()) <= 1 + 1e-6
    assert float(columns.min()) < 2
    assert float(columns.max()) > 29
    top, left = view["crop"][:, 0, 0] * 16, view["crop"][:, 1, 0] * 32
    mirrored = view["crop"][:, 1, 1] < 0
    assert float((view["image"][:, 0, 0, 0] * 16 - top).abs().max()) < 1
    assert float((columns[~mirrored, 0, 0] - left[~mirrored]).abs().max()) < 1.5
    assert float((columns[mirrored, 0, 0] - (left[mirrored] - 1)).abs().max()) < 1.5


@pytest.mark.slow
def test_compiled_views_are_those_that_are_not_compiled(images, seeded):
    views, batch = _views(n_local=1, local_size=16), {"image": images(6)}
    plain = views(batch, seeded(1))
    views.recolor = torch.compile(views.recolor, backend="eager", fullgraph=True)
    for own, other in zip(views(batch, seeded(1)), plain, strict=True):
        torch.testing.assert_close(own["image"], other["image"], atol=1e-5, rtol=1e-5)
        assert torch.equal(own["crop"], other["crop"])


def test_views_made_together_are_views_of_their_own(images, seeded):
    views, size = _views(64, n_local=3, local_size=16, solarize_p=(0.5,)), torch.tensor([[64, 48], [48, 64]] * 3)
    shape, lying = views_module.size_of({"image": images(6, 64), "size": size})
    made = views._made([views.views[-1]] * 3, images(6, 64), shape, lying, seeded())
    drawn = pipeline.draw(views.views[-1], 18, size.repeat(3, 1), seeded(), torch.device("cpu"))
    for place, view in enumerate(made):
        own = slice(6 * place, 6 * place + 6)
        boxes, jitter = drawn.boxes[own], drawn.jitter.take(own)
        hit = (drawn.blur[0] >= own.start) & (drawn.blur[0] < own.stop)
        blur = (drawn.blur[0][hit] - own.start, drawn.blur[1][hit], drawn.blur[2][hit])
        nothing = (drawn.solarize[0][:0], drawn.solarize[1][:0])
        alone = pipeline.Drawn(boxes, drawn.flip[own], jitter, drawn.grey[own], blur, nothing)
        wanted = pipeline.make_view(images(6, 64), views.views[-1], alone, lying)
        torch.testing.assert_close(view["image"], wanted, atol=1e-6, rtol=0)
        assert torch.equal(view["crop"], views_module.box_locations(boxes, size, drawn.flip[own]))
    assert not torch.equal(made[0]["image"], made[1]["image"])


def test_views_made_together_copy_no_whole_batch_of_images(images, seeded, monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.numbers = max(self.numbers, out.numel())
            return out

    side, size, n, k = 64, 16, 8, 8
    views, image = _views(side, n_local=k, local_size=size, **PLAIN), images(n, side)
    monkeypatch.setattr(pipeline, "_CPU_NUMBERS", (3 * side * side,) * 2)  # in parts of one image
    with Largest() as seen:
        views._made([views.views[-1]] * k, image, (side, side), None, seeded())
    assert seen.numbers == n * k * 3 * size * size  # the views themselves
    assert seen.numbers < k * image.numel() // 4


@pytest.mark.parametrize("fit", [1, 5, 100])
def test_views_made_together_are_the_same_in_parts_of_any_size(images, seeded, monkeypatch, fit):
    side, lying = 32, torch.tensor([False, True, False, True])
    views, image = _views(side, n_local=3, local_size=16), images(4, side)
    options = views.views[-1]
    drawn = pipeline.draw(options, 12, (side, side), seeded(), image.device)
    wanted = pipeline.make_view(image.repeat(3, 1, 1, 1), options, drawn, lying.repeat(3))
    monkeypatch.setattr(pipeline, "_CPU_NUMBERS", (fit * 3 * side * side,) * 2)
    torch.testing.assert_close(pipeline.make_view(image, options, drawn, lying), wanted, atol=1e-6, rtol=0)


def test_views_that_differ_in_blur_and_solarization_are_made_together(images, seeded):
    views, n = _views(64, blur_p=(1.0, 0.25), solarize_p=(0.0, 0.5)), 8
    own, (first, second) = images(n, 64), views.views
    together = pipeline.draw_together([first, second], n, (64, 64), seeded(), own.device)
    assert sorted(together.blur[0].tolist())[:n] == list(range(n))
    assert int((together.blur[0] >= n).sum()) == 2
    assert int((together.solarize[0] >= n).sum()) == len(together.solarize[0]) == 4
    made = views._made([first, second], own, (64, 64), None, seeded())
    for place, options in enumerate((first, second)):
        mine = slice(place * n, (place + 1) * n)
        hit, sun = (together.blur[0] // n) == place, (together.solarize[0] // n) == place
        alone = pipeline.Drawn(
            together.boxes[mine], together.flip[mine], together.jitter.take(mine), together.grey[mine],
            (together.blur[0][hit] % n, together.blur[1][hit], together.blur[2][hit]),
            (together.solarize[0][sun] % n, together.solarize[1][sun]),
        )  # fmt: skip
        torch.testing.assert_close(made[place]["image"], pipeline.make_view(own, options, alone), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "options", "most"),
    [
        (32, {}, 290),
        (224, {"n_local": 8, "blur_p": (1.0, 0.1), "local_blur_p": 0.5, "solarize_p": (0.0, 0.2)}, 655),
    ],
    ids=["SimCLR", "DINO"],
)
def test_a_gpu_is_called_a_bounded_number_of_times(size, options, most):
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func.namespace == "aten" and not func.is_view
            return func(*args, **(kwargs or {}))

    views = _views(size, **options)
    with FakeTensorMode():
        batch = {"image": torch.empty(16, 3, size, size, dtype=torch.uint8, device="cuda")}
        with Calls() as calls:
            made = views(batch, None)
    assert len(made) == len(views.views)
    assert calls.count <= most
