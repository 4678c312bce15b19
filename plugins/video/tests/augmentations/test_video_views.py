import pytest
import torch
from pydantic import ValidationError

from selfsup_images import pipeline
from selfsup_video.augmentations import SUPERVISED_RECIPE, SupervisedViewsConfig, VideoViews, VideoViewsConfig
from selfsup_video.augmentations.windows import draw_places

CPU = torch.device("cpu")
INFO = {"frames": 8, "clips": 1, "image_size": 32}
PLAIN = {"jitter_p": 0.0, "grey_p": 0.0, "blur_p": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(B: int = 6, T: int = 8, side: int = 32) -> dict[str, torch.Tensor]:
    return {"video": torch.randint(0, 256, (B, T, 3, side, side), dtype=torch.uint8, generator=seeded(5))}


def views(info=INFO, **options) -> VideoViews:
    return VideoViews(VideoViewsConfig(**options), info)


def still(B: int = 6, T: int = 8, side: int = 32) -> dict[str, torch.Tensor]:
    """Videos of one picture each."""
    return {"video": batch(B, 1, side)["video"].expand(-1, T, -1, -1, -1).contiguous()}


def test_sizes_and_lengths_of_views() -> None:
    made = views(n_global=2, n_local=2)(batch(), seeded())
    assert [tuple(view["video"].shape) for view in made] == [(6, 4, 3, 32, 32)] * 2 + [(6, 2, 3, 12, 12)] * 2
    assert all(view["video"].dtype == torch.float32 for view in made)
    assert all(float(view["video"].min()) >= 0 and float(view["video"].max()) <= 1 for view in made)
    chosen = views(n_local=1, frames=8, local_frames=3, global_size=16, local_size=8)(batch(), seeded())
    assert [tuple(view["video"].shape[1:]) for view in chosen] == [(8, 3, 16, 16)] * 2 + [(3, 3, 8, 8)]


def test_all_frames_of_a_view_are_changed_in_the_same_way() -> None:
    made = views({**INFO, "image_size": 64}, blur_min_size=8)(still(16, side=64), seeded())
    for view in made:
        torch.testing.assert_close(view["video"], view["video"][:, :1].expand_as(view["video"]), atol=1e-6, rtol=0)
    first, second = (view["video"] for view in made)
    assert bool(((first - second).abs().mean(dim=(1, 2, 3, 4)) > 0.01).all())


def test_a_view_of_one_frame_is_that_of_an_image() -> None:
    info = {**INFO, "frames": 1}
    config = VideoViewsConfig(n_global=1, blur_min_size=8)
    video = batch(12, 1)["video"]
    view = VideoViews(config, info)({"video": video}, seeded(3))[0]["video"]
    generator = seeded(3)
    draw_places(12, 1, 1, "independent", generator, CPU)
    options = VideoViews(config, info).views[0][1]
    drawn = pipeline.draw(options, 12, (32, 32), generator, CPU)
    torch.testing.assert_close(view[:, 0], pipeline.make_view(video[:, 0], options, drawn), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_compiled_views_are_those_that_are_not_compiled() -> None:
    from selfsup.training.device.compilation import Compiled

    own, video = views(n_global=2, n_local=1), batch()
    plain = own(video, seeded(1))
    before = own.recolor
    compiled = Compiled(own, "eager", ragged=False)
    assert own.recolor is not before
    for view, other in zip(own(video, seeded(1)), plain, strict=True):
        torch.testing.assert_close(view["video"], other["video"], atol=1e-5, rtol=1e-5)
        assert torch.equal(view["crop"], other["crop"])
    compiled.undo()
    assert own.recolor is before


def test_frames_are_consecutive_and_crop_gives_their_time() -> None:
    video = torch.arange(16).view(1, 16, 1, 1, 1).expand(64, 16, 3, 16, 16).to(torch.uint8) * 10
    for spacing in (1, 2):
        made = views({**INFO, "image_size": 16}, frames=3, spacing=spacing, flip_p=0.0, **PLAIN)({"video": video}, seeded())
        for view in made:
            numbers = (view["video"][:, :, 0, 8, 8] * 25.5).round().long()
            assert bool((numbers.diff(dim=1) == spacing).all())
            assert bool((numbers[:, 0] // 8 == numbers[:, -1] // 8).all())
            torch.testing.assert_close(view["crop"][:, 0, 0], numbers[:, 0] / 16)
            assert float(view["crop"][0, 0, 1]) == 3 * spacing / 16
            assert set((numbers[:, 0] // 8).tolist()) == {0, 1}


def test_crop_gives_the_place_in_the_image() -> None:
    ramp = torch.linspace(0, 1, 32).view(1, 1, 1, 1, 32).expand(8, 8, 3, 32, 32).contiguous()
    view = views(n_global=1, **PLAIN)({"video": ramp}, seeded())[0]
    origin, extent = view["crop"][:, 2].unbind(1)
    middle = view["video"][:, 0, 0, 16, 15:17].mean(dim=1)
    torch.testing.assert_close(middle, ((origin + extent / 2) * 32 - 0.5) / 31, atol=2e-2, rtol=0)
    assert bool((extent < 0).any())
    assert bool((extent > 0).any())


def test_distances_in_time_have_the_stated_density() -> None:
    clip, place = draw_places(20_000, 3, 4, "decreasing", seeded(), CPU)
    assert bool((clip == clip[0]).all())
    assert sorted(set(clip[0].tolist())) == [0, 1, 2, 3]
    distance = (place[0] - place[1]).abs()
    for d in (0.1, 0.3, 0.5, 0.8):
        assert abs(float((distance <= d).float().mean()) - (1 - (1 - d) ** 2)) < 0.012, d
    assert abs(float((place[0] < place[1]).float().mean()) - 0.5) < 0.012
    assert float(place.min()) >= 0
    assert float(place.max()) <= 1
    clip, place = draw_places(20_000, 2, 4, "uniform", seeded(), CPU)
    assert bool((clip[0] == clip[1]).all())
    for d in (0.1, 0.3, 0.5, 0.8):
        assert abs(float(((place[0] - place[1]).abs() <= d).float().mean()) - d) < 0.012, d
    clip, place = draw_places(20_000, 2, 4, "independent", seeded(), CPU)
    assert abs(float((clip[0] == clip[1]).float().mean()) - 0.25) < 0.012
    assert abs(float((place[0] - place[1]).abs().mean()) - 1 / 3) < 0.012


def test_the_interval_sets_the_distance_of_views() -> None:
    video = {"video": torch.arange(16).view(1, 16, 1, 1, 1).expand(2000, 16, 3, 8, 8).contiguous().to(torch.uint8)}
    info = {"frames": 16, "clips": 1, "image_size": 8}
    apart = {}
    for interval in ("independent", "decreasing", "uniform"):
        a, b = views(info, interval=interval, frames=2, **PLAIN)(video, seeded())
        apart[interval] = float((a["crop"][:, 0, 0] - b["crop"][:, 0, 0]).abs().mean()) * 16
    # Fifteen places: about a third of them, or half.
    assert apart["independent"] == pytest.approx(4.9, abs=0.4)
    assert apart["decreasing"] == pytest.approx(4.9, abs=0.4)
    assert apart["uniform"] == pytest.approx(7.5, abs=0.4)


def test_supervised_views_are_a_whole_clip_with_a_light_crop() -> None:
    (made,) = SUPERVISED_RECIPE.build(SupervisedViewsConfig(), INFO)(batch(T=16), seeded())
    assert made["video"].shape == (6, 8, 3, 32, 32)
    extent = made["crop"][:, 1:, 1]
    assert bool((extent > 0).all())
    assert float(extent.prod(dim=1).min()) > 0.5
    options = SupervisedViewsConfig(flip_p=1.0, frames=2, n_global=2)
    mirrored = SUPERVISED_RECIPE.build(options, INFO)(batch(), seeded())
    assert [view["video"].shape[1] for view in mirrored] == [2, 2]
    assert bool((mirrored[0]["crop"][:, 2, 1] < 0).all())


def test_views_follow_their_seed_and_leave_the_batch() -> None:
    given = batch()
    before = given["video"].clone()
    a, b, c = (views()(given, seeded(seed))[0]["video"] for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(given["video"], before)
    floats = views()({"video": given["video"] / 255}, seeded())[0]["video"]
    torch.testing.assert_close(floats, a, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "wrong", [{"global_scale": (0.5, 0.2)}, {"ratio": (0.0, 1.0)}, {"local_scale": (0.5, 1.5)}, {"n_global": 0}]
)
def test_impossible_ranges_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        VideoViewsConfig(**wrong)
