"""Computed videos whose label is the motion of a shape, which no single frame shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup_bench.datasets.cache import Columns, cached, file_feature
from selfsup_bench.datasets.images import Images
from selfsup_bench.datasets.videos import CANVAS, FRAMES, gif

if TYPE_CHECKING:
    from datasets import Dataset, Features

BEHAVIOURS: Mapping[str, tuple[str, ...]] = {
    "place": ("slides", "shakes", "circles"),
    "angle": ("turns", "rocks"),
    "size": ("grows", "shrinks", "pulses"),
}
"""Class, which is what changes, to what shapes do in it. A mirrored video is one of the same class."""
_VIDEOS = 400
"""Of each behaviour."""
_VERSION = "2"
"""Of the way they are computed."""
Curve = np.ndarray[Any, np.dtype[np.float64]]


def moving_shapes(split: str) -> Dataset:
    """3,200 computed videos (16 frames of 32×32 grey, GIF) of a shape that does something: 2,560 and 640. Nothing is real.

    The label is what changes, one of three: the place (the shape slides in a line, shakes to and fro or circles), its angle (it
    turns around or rocks) or its size (it grows, shrinks or pulses). A few labelled videos of a class hardly show all of it.
    Form, size, angle, brightness, speed, direction and place are random and the same for all classes.

    Raises:
        SourceError: there is no such split.
    """
    return cached("moving-shapes", f"computed-{_VERSION}", split, _read)


def _read() -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features

    rng = np.random.default_rng(0)
    rows = [
        (moving_shape(behaviour, rng), label)
        for label, behaviours in enumerate(BEHAVIOURS.values())
        for behaviour in behaviours
        for _ in range(_VIDEOS)
    ]
    videos = [{"bytes": gif(frames), "path": None} for frames, _ in rows]
    features = Features({"video": file_feature(), "label": ClassLabel(names=list(BEHAVIOURS))})
    return {"video": videos, "label": [label for _, label in rows]}, features


def moving_shape(behaviour: str, rng: np.random.Generator) -> Images:
    """[16, 32, 32] uint8: a shape between a bar and a disc, on a darker ground, with a little noise.

    Args:
        behaviour: one of those in :data:`BEHAVIOURS`.
        rng: of all that the class does not say.
    """
    time = np.arange(FRAMES) / (FRAMES - 1)
    wave = np.sin(2 * np.pi * (rng.uniform(1.5, 3.5) * time + rng.uniform()))
    way, side = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    line = np.stack([np.sin(way) * np.ones(FRAMES), np.cos(way) * np.ones(FRAMES)])
    place = np.repeat(rng.uniform(8, CANVAS - 8, size=(2, 1)), FRAMES, axis=1)
    size = np.full(FRAMES, 5 * 2 ** rng.uniform())
    angle = np.full(FRAMES, rng.uniform(0, 2 * np.pi))
    if behaviour == "slides":
        place = place + line * (time - 0.5) * rng.uniform(14, 24)
    elif behaviour == "shakes":
        place = place + line * wave * rng.uniform(3, 6)
    elif behaviour == "circles":
        turn = way + side * 2 * np.pi * rng.uniform(0.8, 1.6) * time
        place = place + np.stack([np.sin(turn), np.cos(turn)]) * rng.uniform(3, 6)
    elif behaviour == "turns":
        angle = angle + side * 2 * np.pi * rng.uniform(0.6, 1.2) * time
    elif behaviour == "rocks":
        angle = angle + wave * rng.uniform(0.5, 1)
    elif behaviour == "pulses":
        size = size * np.exp(wave * rng.uniform(0.25, 0.5))
    else:
        towards = {"grows": 1, "shrinks": -1}[behaviour]
        size = size * rng.uniform(2, 3) ** (towards * (time - 0.5))
    ground, bright = rng.uniform(0, 60), rng.uniform(120, 250)
    shape = _shape(place, size, angle, flatness=rng.uniform(0.3, 0.6), roundness=rng.uniform(1.5, 4))
    frames = ground + (bright - ground) * shape + rng.normal(size=shape.shape)
    result: Images = np.clip(np.round(frames), 0, 255).astype(np.uint8)
    return result


def _shape(place: Curve, size: Curve, angle: Curve, *, flatness: float, roundness: float) -> Curve:
    """[T, 32, 32] in 0..1: a superellipse at ``place`` [2, T] (y, x) with the half-axes ``size`` [T] and a share of it."""
    y, x = (np.mgrid[:CANVAS, :CANVAS] + 0.5)[:, None] - place[:, :, None, None]
    cos, sin = (part[:, None, None] for part in (np.cos(angle), np.sin(angle)))
    length = size[:, None, None]
    along, across = (x * cos + y * sin) / length, (y * cos - x * sin) / (length * flatness)
    radius = (np.abs(along) ** roundness + np.abs(across) ** roundness) ** (1 / roundness)
    inside: Curve = 1 / (1 + np.exp(np.minimum(8 * (radius - 1), 50)))
    return inside
