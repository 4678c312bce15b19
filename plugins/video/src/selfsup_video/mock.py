"""Made-up videos with something to learn for every kind of task."""

from __future__ import annotations

import numpy as np

from selfsup.types import Row

_SIZE, _FRAMES = 16, 31
"""Pixels and frames: as small as the processor takes, and as long as one clip of its defaults."""


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` videos [31, 16, 16, 3] uint8, without labels.

    In each a disc or square of a random colour moves along a line at the same speed, in a random direction and around the
    edges, over a tinted background that brightens from the first frame to the last (so that order, direction and speed of time
    can be told).
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:_SIZE, 0:_SIZE]
    time = np.arange(_FRAMES)
    rows: list[Row] = []
    for index in range(n):
        start, angle = rng.uniform(0, _SIZE, size=2), rng.uniform(0, 2 * np.pi)
        path = start + 0.5 * time[:, None] * np.array([np.sin(angle), np.cos(angle)])
        apart = np.stack([y, x])[None] - path[:, :, None, None]
        apart = np.abs((apart + _SIZE / 2) % _SIZE - _SIZE / 2)
        distance = np.hypot(apart[:, 0], apart[:, 1]) if index % 2 else apart.max(axis=1)
        light = 0.15 + 0.4 * time / _FRAMES
        video = np.empty((_FRAMES, _SIZE, _SIZE, 3))
        video[:] = light[:, None, None, None] + rng.uniform(-0.15, 0.45, size=3) + 0.1 * (x / _SIZE)[None, :, :, None]
        video[distance < rng.uniform(2.5, 4)] = rng.uniform(0.2, 1, size=3)
        video += rng.normal(0, 0.02, size=video.shape)
        rows.append({"video": (np.clip(video, 0, 1) * 255).astype(np.uint8)})
    return rows
