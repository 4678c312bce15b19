"""Synthetic images from which every kind of task can learn."""

from __future__ import annotations

from functools import partial

import numpy as np

from selfsup.types import Row

_SIZE = 24
"""Pixels: small, and divisible by the default patch (4) and by the 3x3 tiles."""


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` images [24, 24, 3] uint8, without labels.

    Each is bright at the top and reddish to the right (so that rotations and places can be predicted), with a texture that gets
    finer downwards and to the right (for tiles), a tint, and a disc or square of random colours.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:_SIZE, 0:_SIZE] / _SIZE
    rows: list[Row] = []
    for index in range(n):
        red = 0.2 + 0.5 * x
        green = 0.7 - 0.5 * y
        blue = 0.8 - 0.3 * y - 0.3 * x
        texture = 0.12 * np.sin(2 * np.pi * (1 + 4 * y) * x + rng.uniform(0, 6)) * np.cos(2 * np.pi * (1 + 4 * x) * y)
        image = np.stack([red, green, blue], axis=-1) + texture[..., None] + rng.uniform(-0.2, 0.2, size=3)
        cy, cx = rng.uniform(0.25, 0.75, size=2)
        reach = rng.uniform(0.12, 0.25)
        distance = np.hypot(y - cy, x - cx) if index % 2 else np.maximum(abs(y - cy), abs(x - cx))
        image[distance < reach] = rng.uniform(0, 1, size=3)
        image += rng.normal(0, 0.03, size=image.shape)
        rows.append({"image": (np.clip(image, 0, 1) * 255).astype(np.uint8)})
    return rows


def noise_rows(n: int, seed: int, height: int, width: int, smooth: bool = False) -> list[Row]:
    """``n`` images [height, width, 3] uint8 of noise: independent, or smoothed over 3x3 pixels.

    Smooth noise is continuous, like images, so that tiles that fit can be recognised by their seams. Its distribution does not
    change under rotation, and pixels with a distance of 3 or more are independent.
    """
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for _ in range(n):
        image = rng.uniform(0, 255, (height + 2 * smooth, width + 2 * smooth, 3))
        if smooth:
            image = np.mean([image[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
        rows.append({"image": image.astype(np.uint8)})
    return rows


NOISE_ROWS = {
    "24 pixels": partial(noise_rows, height=24, width=24),
    "32 by 45 pixels": partial(noise_rows, height=32, width=45),
    "smooth": partial(noise_rows, height=33, width=33, smooth=True),
}
"""Noise for the leak checks: independent, in two sizes; and smooth, where neighbouring tiles fit together."""
