"""The embedded videos and sounds: what is in them, and that no shortcut gives the label away."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from selfsup_bench.datasets import shapes, sounds, videos
from selfsup_bench.datasets.images import read_mnist
from selfsup_bench.datasets.shapes import BEHAVIOURS, moving_shape, moving_shapes
from selfsup_bench.datasets.sounds import KINDS, RATE, TRENDS, sound, sound_trends, synthetic_sounds, wav
from selfsup_bench.datasets.videos import CANVAS, DIRECTIONS, FRAMES, gif, moving, moving_digits, shrunk


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))


def frames_of(data: bytes) -> Any:
    """[T, H, W] of a GIF."""
    return np.stack([np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(data)))])


def test_moving_digits_are_balanced_and_their_splits_share_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "_VIDEOS", 10)
    train, test = moving_digits("train"), moving_digits("test")
    assert np.bincount(train["label"]).tolist() == [8] * 8
    assert np.bincount(test["label"]).tolist() == [2] * 8
    assert train.features["label"].names == list(DIRECTIONS)
    assert not {row["bytes"] for row in train["video"]} & {row["bytes"] for row in test["video"]}
    assert frames_of(train[0]["video"]["bytes"]).shape == (FRAMES, CANVAS, CANVAS)


def test_videos_keep_every_frame_and_grey_level() -> None:
    pixels, _ = read_mnist()
    rng = np.random.default_rng(0)
    for direction in range(8):
        made = moving(shrunk(pixels[direction * 500]), shrunk(pixels[7]), direction, rng)
        assert len(np.unique(made)) > 50
        assert np.array_equal(frames_of(gif(made)), made)


@pytest.mark.parametrize("direction", range(8))
def test_the_digit_moves_where_the_label_says(direction: int) -> None:
    dot = np.zeros((14, 14), dtype=np.uint8)
    dot[7, 7] = 255
    made = moving(dot, np.zeros_like(dot), direction, np.random.default_rng(direction))
    places = np.array([np.argwhere(frame)[0] for frame in made])
    steps = (np.diff(places, axis=0) + CANVAS // 2) % CANVAS - CANVAS // 2
    y, x = steps.mean(axis=0)
    assert np.allclose(np.hypot(y, x), np.clip(np.hypot(y, x), 1.4, 3.1))
    words = {(1, 0): "down", (-1, 0): "up", (0, 1): "right", (0, -1): "left"}
    vertical = words.get((int(np.sign(round(y))), 0), "")
    horizontal = words.get((0, int(np.sign(round(x)))), "")
    assert "-".join(part for part in (vertical, horizontal) if part) == DIRECTIONS[direction]


def test_no_single_frame_tells_the_direction() -> None:
    """Where the digit is seen in one frame is spread alike over the canvas whatever the direction."""
    dot = np.zeros((14, 14), dtype=np.uint8)
    dot[0, 0] = 255
    rng = np.random.default_rng(0)
    for direction in range(8):
        middle = [moving(dot, np.zeros_like(dot), direction, rng)[FRAMES // 2] for _ in range(200)]
        places = np.array([np.argwhere(frame)[0] for frame in middle])
        counts = np.histogram2d(*places.T, bins=2, range=[[0, CANVAS]] * 2)[0]
        assert np.abs(counts - 50).max() < 25


def test_digits_of_test_videos_are_in_no_training_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "_VIDEOS", 10)
    seen: list[bytes] = []
    monkeypatch.setattr(
        videos, "moving", lambda digit, still, direction, rng: seen.extend(map(bytes, (digit, still))) or digit[None]
    )
    monkeypatch.setattr(videos, "gif", bytes)
    videos._read()
    in_test = {digit for place in range(80) if place % 5 == 4 for digit in seen[2 * place : 2 * place + 2]}
    in_train = {digit for place in range(80) if place % 5 != 4 for digit in seen[2 * place : 2 * place + 2]}
    assert len(in_test) > 25
    assert not in_test & in_train


def samples_of(data: bytes) -> Any:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768


def test_synthetic_sounds_are_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "_SOUNDS", 10)
    train, test = synthetic_sounds("train"), synthetic_sounds("test")
    assert np.bincount(train["label"]).tolist() == [8] * 8
    assert np.bincount(test["label"]).tolist() == [2] * 8
    assert train.features["label"].names == list(KINDS)
    waves = [samples_of(row["bytes"]) for row in train["audio"]]
    assert {len(samples) for samples in waves} == {8000}
    peaks = [float(np.abs(samples).max()) for samples in waves]
    assert 0.09 < min(peaks) < 0.3 < 0.7 < max(peaks) < 0.91


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_is_the_same_for_the_same_seed(kind: str) -> None:
    made = [wav(sound(kind, np.random.default_rng(seed))) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]


def halves(kind: str, measure: Any) -> float:
    """Mean difference of a measure between the second and the first half of 20 sounds."""
    rng = np.random.default_rng(0)
    values = [sound(kind, rng) for _ in range(20)]
    return float(np.mean([measure(value[4000:]) - measure(value[:4000]) for value in values]))


def pitch(part: Any) -> float:
    """The centre of gravity of the spectrum in octaves."""
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    strong = power > 0.05 * power.max()
    return float(np.log2((np.fft.rfftfreq(len(part), 1 / RATE) * power)[strong].sum() / power[strong].sum()))


def clicks(part: Any) -> float:
    loud = np.convolve(np.abs(part), np.ones(100) / 100, mode="same")
    return float(np.sum(np.diff((loud > 0.4 * loud.max()).astype(int)) == 1))


def test_kinds_differ_in_the_direction_of_time() -> None:
    def loudness(part: Any) -> float:
        return float(10 * np.log10(np.mean(part**2)))

    assert halves("rising", pitch) > 0.2
    assert halves("falling", pitch) < -0.2
    assert halves("swelling", loudness) > 5
    assert halves("fading", loudness) < -5
    assert halves("quickening", clicks) > 1
    assert halves("slowing", clicks) < -1
    assert abs(halves("tremolo", loudness)) < 1
    assert abs(halves("vibrato", pitch)) < 0.1


@pytest.mark.parametrize(("forwards", "backwards"), [("rising", "falling"), ("swelling", "fading"), ("quickening", "slowing")])
def test_backwards_kinds_have_the_same_mean_spectrum(forwards: str, backwards: str) -> None:
    """With the same draws they are each other backwards, but for the noise: magnitudes are the same."""
    for seed in range(5):
        first, second = (sound(kind, np.random.default_rng(seed)) for kind in (forwards, backwards))
        magnitudes = np.corrcoef(np.abs(np.fft.rfft(first)), np.abs(np.fft.rfft(second)))[0, 1]
        assert magnitudes > 0.95
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


ALL = [behaviour for behaviours in BEHAVIOURS.values() for behaviour in behaviours]


def test_moving_shapes_are_the_same_each_time_and_their_splits_share_no_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shapes, "_VIDEOS", 10)
    train, test = moving_shapes("train"), moving_shapes("test")
    assert np.bincount(train["label"]).tolist() == [24, 16, 24]
    assert np.bincount(test["label"]).tolist() == [6, 4, 6]
    assert train.features["label"].names == list(BEHAVIOURS)
    first = [row["bytes"] for row in train["video"]]
    assert not set(first) & {row["bytes"] for row in test["video"]}
    assert frames_of(first[0]).shape == (FRAMES, CANVAS, CANVAS)
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "again"))
    assert [row["bytes"] for row in moving_shapes("train")["video"]] == first


@cache
def bright(behaviour: str, seed: int) -> tuple[Any, Any, Any]:
    """Of each frame: centre [T, 2], number [T] and direction [T] (of the longer axis, in half turns) of the bright pixels."""
    made = moving_shape(behaviour, np.random.default_rng(seed)).astype(float)
    pixels = [np.argwhere(frame > (made.min() + made.max()) / 2) for frame in made]
    spread = [np.cov(places.T) for places in pixels]
    turn = [np.arctan2(2 * s[0, 1], s[1, 1] - s[0, 0]) / (2 * np.pi) for s in spread]
    return np.array([places.mean(axis=0) for places in pixels]), np.array([len(places) for places in pixels]), np.array(turn)


def test_shapes_change_what_the_label_says() -> None:
    def mean(behaviour: str, of: Callable[[Any, Any, Any], Any]) -> float:
        return float(np.mean([of(*bright(behaviour, seed)) for seed in range(40)]))

    change = {
        "place": {name: mean(name, lambda c, _, __: np.linalg.norm(np.diff(c, axis=0), axis=1).sum()) for name in ALL},
        "angle": {name: mean(name, lambda _, __, a: np.abs((np.diff(a) + 0.5) % 1 - 0.5).sum()) for name in ALL},
        "size": {name: mean(name, lambda _, size, __: np.ptp(np.log(size))) for name in ALL},
    }
    for label, behaviours in BEHAVIOURS.items():
        least = min(change[label][name] for name in behaviours)
        assert least > 2 * max(value for name, value in change[label].items() if name not in behaviours), label
    assert mean("grows", lambda _, size, __: np.log(size[-1] / size[0])) > 0.7
    assert mean("shrinks", lambda _, size, __: np.log(size[-1] / size[0])) < -0.7


def test_no_single_frame_tells_what_a_shape_changes() -> None:
    """Sizes and places of the middle frame are spread alike."""
    middle = {name: [bright(name, seed) for seed in range(40)] for name in ALL}
    size = [np.mean([np.log(sizes[8]) for _, sizes, _ in videos]) for videos in middle.values()]
    place = [np.mean([centres[8] for centres, _, _ in videos], axis=0) for videos in middle.values()]
    assert np.ptp(size) < 0.2
    assert np.ptp(place, axis=0).max() < 1


def test_sound_trends_are_the_synthetic_sounds_in_three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "_SOUNDS", 10)
    kinds, trends = synthetic_sounds("train"), sound_trends("train")
    assert trends.features["label"].names == list(TRENDS)
    assert np.bincount(trends["label"]).tolist() == [24, 24, 16]
    kind_of = {row["bytes"]: KINDS[label] for row, label in zip(kinds["audio"], kinds["label"], strict=True)}
    of_trend = list(TRENDS.values())
    for row, label in zip(trends["audio"], trends["label"], strict=True):
        assert kind_of[row["bytes"]] in of_trend[label]
