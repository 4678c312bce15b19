"""Default sizes from the image size, so that crops, tiles and tokens fit each other."""

from __future__ import annotations

import math


def patch_size_for(image_size: int) -> int:
    """The default side of a token in pixels: 2 up to 16 px, 4 up to 64, 8 up to 128, else 16 (14x14 tokens at 224).

    If that does not divide the image, the nearest divisor in 2..32.
    """
    wanted = next((patch for largest, patch in ((16, 2), (64, 4), (128, 8)) if image_size <= largest), 16)
    divisors = [patch for patch in range(2, 33) if image_size % patch == 0 and image_size > patch]
    return min(divisors, key=lambda patch: abs(math.log(patch / wanted)), default=wanted)


def local_size_for(image_size: int) -> int:
    """The default side of a local view: 3/7 of the image (96 of 224, as in SwAV and DINO), in whole tokens."""
    patch = patch_size_for(image_size)
    return max(round(image_size * 3 / 7 / patch), 1) * patch
