"""Statistics of the transformations: every label equally often, and the label says what was done."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.tasks import Transformation
from selfsup.testing.kit.task_checks import generator
from selfsup_video.transformations import (
    ArrowOfTime,
    ArrowOfTimeConfig,
    ClipOrder,
    ClipOrderConfig,
    FrameOrder,
    FrameOrderConfig,
    PlaybackSpeed,
    PlaybackSpeedConfig,
)
from selfsup_video.transformations.clip_order import all_orders

INFO = {"frames": 16, "clips": 2, "image_size": 4, "channels": 3}
BATCH = 480
MAKE = {
    "frame-order": lambda info: FrameOrder(FrameOrderConfig(), info),
    "frame-order-apart": lambda info: FrameOrder(FrameOrderConfig(apart=True), info),
    "verification": lambda info: FrameOrder(FrameOrderConfig(mode="verification"), info),
    "clip-order": lambda info: ClipOrder(ClipOrderConfig(), info),
    "arrow-of-time": lambda info: ArrowOfTime(ArrowOfTimeConfig(), info),
    "playback-speed": lambda info: PlaybackSpeed(PlaybackSpeedConfig(), info),
}


def numbered(n: int = BATCH, clips: int = 2, frames: int = 16) -> torch.Tensor:
    """[n, clips * frames, 3, 2, 2] uint8; a pixel holds the number of its frame in its clip, plus 100 * clip."""
    number = torch.arange(clips * frames) % frames + torch.arange(clips * frames) // frames * 100
    return number.to(torch.uint8).view(1, -1, 1, 1, 1).expand(n, -1, 3, 2, 2)


def run(transformation: Transformation, seed: int = 0, **video: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[inputs, T] long, which frames are seen, and the labels."""
    out = transformation({"video": numbered(**video)}, generator(seed))
    assert out.batch["video"].dtype == torch.uint8
    assert (out.batch["video"].flatten(2) == out.batch["video"][:, :, 0, 0, :1]).all()
    return out.batch["video"][:, :, 0, 0, 0].long(), out.label


def evenly(share: torch.Tensor, n: int, wanted: float) -> bool:
    """Whether shares of ``n`` draws are ``wanted`` each, within five deviations."""
    return bool((share - wanted).abs().max() < 5 * math.sqrt(wanted * (1 - wanted) / n))


@pytest.mark.parametrize("name", MAKE)
def test_every_answer_comes_equally_often_in_every_batch_and_place(name: str) -> None:
    transformation = MAKE[name](INFO)
    drawing = generator()
    drawn = torch.stack([transformation({"video": numbered(24)}, drawing).label for _ in range(200)])
    counts = torch.stack([(drawn == label).sum(dim=1) for label in range(transformation.n_outputs)])
    assert int(counts.max() - counts.min()) <= 1
    assert evenly(torch.bincount(drawn[:, 0], minlength=transformation.n_outputs) / 200, 200, 1 / transformation.n_outputs)


@pytest.mark.parametrize("name", MAKE)
def test_video_transformations_follow_their_generator(name: str) -> None:
    transformation = MAKE[name](INFO)
    (first, label), (again, same) = run(transformation, 3), run(transformation, 3)
    assert torch.equal(first, again)
    assert torch.equal(label, same)
    assert not torch.equal(first, run(transformation, 4)[0])
    seen, _ = run(MAKE[name]({**INFO, "frames": 16}), clips=1, frames=14)  # a view of fewer frames is one clip
    assert int(seen.max()) <= 13


@pytest.mark.parametrize("symmetric", [False, True])
def test_orders_are_all_permutations_or_half_of_them(symmetric: bool) -> None:
    for n in (2, 3, 4, 5):
        orders = [tuple(order) for order in all_orders(n, symmetric=symmetric).tolist()]
        assert len(set(orders)) == len(orders) == math.factorial(n) // (2 if symmetric else 1)
        reached = {*orders, *(order[::-1] for order in orders)} if symmetric else set(orders)
        assert reached == set(permutations(range(n)))


@pytest.mark.parametrize("symmetric", [False, True])
def test_frame_order_names_the_order_of_the_frames(symmetric: bool) -> None:
    transformation = FrameOrder(FrameOrderConfig(symmetric=symmetric), INFO)
    seen, label = run(transformation)
    assert seen.shape == (BATCH, 4)
    ranks = seen.argsort(dim=1).argsort(dim=1)
    named = transformation.orders[label]
    same, reverse = (ranks == named).all(dim=1), (ranks == named.flip(1)).all(dim=1)
    assert (same | reverse).all() if symmetric else same.all()
    # Without symmetry a reversed order is a class of its own; with it each half of the samples runs either way.
    assert evenly(reverse.float().mean(), BATCH, 0.5) if symmetric else not reverse.any()
    assert transformation.n_outputs == (12 if symmetric else 24)
    assert set((seen // 100).unique().tolist()) == {0, 1}
    assert (seen // 100 == seen[:, :1] // 100).all(), "a window crosses from one clip into the next"
    counts = torch.bincount(label, minlength=transformation.n_outputs)
    assert counts.tolist() == [BATCH // transformation.n_outputs] * transformation.n_outputs


@pytest.mark.parametrize(("spacing", "wanted"), [(None, {3, 4, 5}), ((1, 2), {1, 2}), ((4, 4), {4})])
def test_frames_have_one_distance_in_a_sample_and_lie_anywhere(spacing: Any, wanted: set[int]) -> None:
    seen, _ = run(FrameOrder(FrameOrderConfig(spacing=spacing), INFO))
    steps = seen.sort(dim=1).values.diff(dim=1)
    assert (steps == steps[:, :1]).all()
    assert set(steps.flatten().tolist()) == wanted
    places = seen % 100
    assert places.min() == 0
    assert places.max() == 15


def test_frames_encoded_apart_are_those_of_one_clip() -> None:
    together, label = run(FrameOrder(FrameOrderConfig(), INFO))
    transformation = FrameOrder(FrameOrderConfig(apart=True), INFO)
    apart, same = run(transformation)
    assert transformation.parts == 4
    assert apart.shape == (BATCH * 4, 1)
    assert torch.equal(apart.view(BATCH, 4), together)
    assert torch.equal(label, same)


@pytest.mark.parametrize("frames", [3, 4])
@pytest.mark.parametrize("symmetric", [False, True])
def test_verification_changes_one_inner_frame_for_one_from_outside(frames: int, symmetric: bool) -> None:
    config = FrameOrderConfig(mode="verification", frames=frames, spacing=(2, 2), symmetric=symmetric)
    seen, label = run(FrameOrder(config, INFO))
    assert label.sum() == BATCH // 2
    backwards = seen[:, 0] > seen[:, -1]
    assert evenly(backwards.float().mean(), BATCH, 0.5) if symmetric else not backwards.any()
    forward = torch.where(backwards.unsqueeze(1), seen.flip(1), seen)
    expected = forward[:, :1] + 2 * torch.arange(frames)
    right = forward == expected
    assert torch.equal(right.all(dim=1), label == 1)
    wrong = ~right[label == 0]
    assert (wrong.sum(dim=1) == 1).all()
    assert not wrong[:, [0, -1]].any()
    offset = (forward - forward[:, :1])[label == 0][wrong]
    assert set(offset.tolist()) == {-2, 2 * frames}
    assert evenly((offset < 0).float().mean(), BATCH // 2, 0.5)
    assert evenly(wrong.float().mean(dim=0)[1:-1], BATCH // 2, 1 / (frames - 2)) or frames == 3


@pytest.mark.parametrize("options", [{}, {"clips": 2}, {"length": 2, "gap": 0}, {"clips": 4}])
def test_clips_stand_in_the_order_that_the_label_names(options: dict[str, int]) -> None:
    transformation = ClipOrder(ClipOrderConfig(**options), INFO)
    n, (length, gap) = transformation.parts, transformation.sizes(16)
    seen, label = run(transformation)
    assert seen.shape == (BATCH * n, length)
    clips = seen.view(BATCH, n, length)
    assert (clips.diff(dim=2) == 1).all(), "a clip is not a run of frames"
    first = clips[..., 0]
    assert torch.equal(first.argsort(dim=1).argsort(dim=1), transformation.orders[label])
    assert (first.sort(dim=1).values.diff(dim=1) == length + gap).all()
    assert torch.bincount(label, minlength=math.factorial(n)).tolist() == [BATCH // math.factorial(n)] * math.factorial(n)
    assert (clips // 100 == clips[:, :1, :1] // 100).all()


def test_clip_lengths_fill_what_there_is() -> None:
    assert ClipOrder(ClipOrderConfig(), INFO).sizes(16) == (4, 2)
    assert ClipOrder(ClipOrderConfig(length=16, gap=8), {"frames": 64}).sizes(64) == (16, 8)
    assert ClipOrder(ClipOrderConfig(gap=1), INFO).sizes(16) == (4, 1)
    assert ClipOrder(ClipOrderConfig(length=3), INFO).sizes(16) == (3, 1)


@pytest.mark.parametrize("length", [None, 6])
def test_arrow_of_time_runs_backwards_where_the_label_says_so(length: int | None) -> None:
    seen, label = run(ArrowOfTime(ArrowOfTimeConfig(length=length), INFO))
    assert seen.shape == (BATCH, length or 16)
    steps = seen.diff(dim=1)
    assert torch.equal(steps, torch.where(label == 1, -1, 1).unsqueeze(1).expand_as(steps))
    assert label.sum() == BATCH // 2


@pytest.mark.parametrize(("paces", "length", "wanted"), [((1, 2, 3, 4), None, 4), ((1, 2), 8, 8), ((2, 5), None, 4)])
def test_pace_is_the_distance_of_the_frames(paces: tuple[int, ...], length: int | None, wanted: int) -> None:
    transformation = PlaybackSpeed(PlaybackSpeedConfig(paces=paces, length=length), INFO)
    seen, label = run(transformation)
    assert seen.shape == (BATCH, wanted)
    steps = seen.diff(dim=1)
    assert torch.equal(steps, torch.tensor(paces)[label].unsqueeze(1).expand_as(steps))
    # Twice the middle: where the highest pace has room around it, and there alike at every pace.
    middle = (seen[:, 0] + seen[:, -1]) - 2 * 100 * (seen[:, 0] // 100)
    assert (seen // 100 == seen[:, :1] // 100).all(), "a window crosses from one clip into the next"
    reach = (wanted - 1) * paces[-1]
    for number in range(len(paces)):
        near = middle[label == number]
        assert near.min() >= reach - 1
        assert near.max() <= 2 * 15 - reach + 1
        assert abs(float(near.float().mean()) - 15) < 0.5
    assert torch.bincount(label).tolist() == [BATCH // len(paces)] * len(paces)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: PlaybackSpeed(PlaybackSpeedConfig(), {"frames": 4}), "2 frames at a pace of 4 do not fit into a clip of 4"),
    (lambda: PlaybackSpeed(PlaybackSpeedConfig(length=9), INFO), "9 frames at a pace of 4 do not fit into a clip of 16"),
    (lambda: ClipOrder(ClipOrderConfig(clips=5), {"frames": 4}), "5 clips of 1 frames with gaps of 0 do not fit into 4"),
    (lambda: ClipOrder(ClipOrderConfig(length=8), INFO), "3 clips of 8 frames with gaps of 4 do not fit into 16"),
    (lambda: FrameOrder(FrameOrderConfig(), {"frames": 3}), "4 frames, 1 apart, do not fit into a clip of 3"),
    (lambda: FrameOrder(FrameOrderConfig(spacing=(2, 6)), INFO), "4 frames, 6 apart, do not fit into a clip of 16"),
    (lambda: FrameOrder(FrameOrderConfig(mode="verification"), {"frames": 5}), "6 frames, 1 apart, do not fit"),
    (lambda: run(ArrowOfTime(ArrowOfTimeConfig(length=17), INFO)), "17 frames"),
])  # fmt: skip
def test_what_does_not_fit_into_a_clip_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: PlaybackSpeedConfig(paces=(2,)), "two or more different speeds"),
    (lambda: PlaybackSpeedConfig(paces=(2, 2)), "two or more different speeds"),
    (lambda: FrameOrderConfig(spacing=(3, 2)), "no range"),
    (lambda: FrameOrderConfig(mode="verification", frames=2), "frames=2 cannot be verified"),
    (lambda: FrameOrderConfig(frames=2), "set symmetric=false"),
])  # fmt: skip
def test_inconsistent_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def short(real: list[int], frames: int = 16) -> dict[str, torch.Tensor]:
    """Videos whose frames are numbered, the last real one repeated as the processor does."""
    length = torch.tensor(real)
    number = torch.minimum(torch.arange(frames), length.unsqueeze(1) - 1)
    return {"video": number.float().view(len(real), frames, 1, 1, 1).expand(-1, -1, 3, 2, 2), "length": length}


@pytest.mark.parametrize(
    ("name", "least"), [("arrow-of-time", 2), ("clip-order", 16), ("frame-order", 4), ("playback-speed", 13)]
)
def test_short_videos_show_real_frames_alone_or_are_left_out(name: str, least: int) -> None:
    real = [length for length in range(1, 17) for _ in range(24)]
    transformation = MAKE[name]({**INFO, "frames": 16})
    made = transformation(short(real), generator())
    assert made.weight is not None
    assert made.weight.tolist() == [float(length >= least) for length in real]
    shown = made.batch["video"][:, :, 0, 0, 0].reshape(len(real), -1)
    inside = made.batch.get("length")
    for number, length in enumerate(real):
        if made.weight[number]:
            seen = shown[number] if inside is None else shown[number, : int(inside[number])]
            assert len(seen.unique()) == len(seen), "a frame comes twice"
            assert seen.max() < length
            assert inside is None or len(seen) == length


def test_a_short_video_turns_around_within_its_frames() -> None:
    made = ArrowOfTime(ArrowOfTimeConfig(), {**INFO, "frames": 8})(short([3] * 8 + [8] * 8, 8), generator())
    seen = made.batch["video"][:, :, 0, 0, 0].long().tolist()
    assert {tuple(row) for row in seen[:8]} == {(0, 1, 2, 2, 2, 2, 2, 2), (2, 1, 0, 0, 0, 0, 0, 0)}
    assert {tuple(row) for row in seen[8:]} == {tuple(range(8)), tuple(range(7, -1, -1))}
    assert made.batch["length"].tolist() == [3] * 8 + [8] * 8


def test_the_time_of_a_window_does_not_predict_its_pace() -> None:
    """With windows anywhere they fit, the mean time alone gives the right one of four paces in three cases of four."""
    seen, label = run(PlaybackSpeed(PlaybackSpeedConfig(), {**INFO, "frames": 32}), clips=1, frames=32)
    counts = torch.zeros(32, 4)
    counts.index_put_((seen.float().mean(dim=1).long(), label), torch.tensor(1.0), accumulate=True)
    assert float(counts.max(dim=1).values.sum()) / len(label) < 0.35


def test_frames_are_as_far_apart_as_a_short_video_allows() -> None:
    made = FrameOrder(FrameOrderConfig(), {**INFO, "frames": 16})(short([7] * 400 + [16] * 400), generator())
    steps = made.batch["video"][:, :, 0, 0, 0].sort(dim=1).values.diff(dim=1)[:, 0]
    assert set(steps[:400].tolist()) == {1, 2}
    assert set(steps[400:].tolist()) == {3, 4, 5}
    fixed = FrameOrder(FrameOrderConfig(spacing=(2, 3)), {**INFO, "frames": 16})(short([4, 7, 8, 16]), generator())
    assert fixed.weight is not None
    assert fixed.weight.tolist() == [0, 1, 1, 1]
