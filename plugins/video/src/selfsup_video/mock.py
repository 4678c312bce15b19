"""Synthetic videos from which every kind of task can learn."""

from __future__ import annotations

from functools import partial

import numpy as np

from selfsup.types import Row

_SIZE, _FRAMES = 16, 31
"""Pixels, the processor's minimum, and frames, one clip of its defaults."""


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` videos [31, 16, 16, 3] uint8, without labels.

    In each a disc or square of a random colour moves along a line at a fixed speed, in a random direction and around the edges,
    over a tinted background that brightens from the first frame to the last (so that order, direction and speed can be
    predicted).
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


def noise_rows(n: int, seed: int, frames: tuple[int, int], height: int, width: int) -> list[Row]:
    """``n`` videos [T, height, width, 3] uint8, independent noise, with T uniform in ``frames``."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(frames[0], frames[1] + 1, size=n)
    return [{"video": rng.integers(0, 256, (length, height, width, 3), dtype=np.uint8)} for length in lengths]


NOISE_ROWS = {
    "8 frames": partial(noise_rows, frames=(8, 8), height=16, width=16),
    "31 frames": partial(noise_rows, frames=(31, 31), height=20, width=28),
    "1 to 70 frames": partial(noise_rows, frames=(1, 70), height=16, width=16),
}
"""Independent noise for the leak checks: shorter than a clip, as long as one, of all lengths."""
