"""Raw features of images: their pixels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from selfsup.types import Batch, Info
from selfsup_images.pipeline import to_float

_LARGEST = 32
"""Side above which images are shrunk: 3,072 numbers an image, those of CIFAR-10."""


def pixels(batch: Batch, info: Info) -> Tensor:
    """The pixels in 0..1, [B, 3 * side * side], of images shrunk to at most 32 pixels a side (area mean)."""
    image = to_float(batch["image"])
    side = min(_LARGEST, image.shape[-1])
    if side < image.shape[-1]:
        image = F.interpolate(image, size=(side, side), mode="area")
    return image.flatten(1)
