"""Default sizes from the image size and the clip length, so that windows, crops and tubelets fit each other."""

from __future__ import annotations

import math


def patch_size_for(image_size: int) -> int:
    """The default side of a tubelet in pixels: 4 up to 32 px, 8 up to 64, else 16 (7x7 at 112).

    If that does not divide the image, the nearest divisor in 2..32.
    """
    wanted = next((patch for largest, patch in ((32, 4), (64, 8)) if image_size <= largest), 16)
    divisors = [patch for patch in range(2, 33) if image_size % patch == 0 and image_size > patch]
    return min(divisors, key=lambda patch: abs(math.log(patch / wanted)), default=wanted)


def local_size_for(image_size: int) -> int:
    """The default side of a local view: 3/7 of the image in whole tubelets, 48 at 112."""
    patch = patch_size_for(image_size)
    return max(round(image_size * 3 / 7 / patch), 1) * patch


def window_for(frames: int) -> int:
    """The default length of a window of a clip: half of it, rounded down to an even number."""
    half = frames // 2
    return max(half - half % 2, 1)
