"""Raw features of videos: what they look like on the whole, and where they change."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.images.pipeline import to_float
from selfsup.types import Batch, Info

_SIDE = 16
"""Pixels a side of both images: 1,536 numbers a video."""


def frame_pixels(batch: Batch, info: Info) -> Tensor:
    """The mean image, and the mean absolute difference of consecutive frames, of 16x16 pixels (area mean): [B, 1536].

    Differences across the border of two clips count as well. A video of one frame has no difference (zeros).
    """
    video = to_float(batch["video"])
    mean = video.mean(dim=1)
    change = (video[:, 1:] - video[:, :-1]).abs().mean(dim=1) if video.shape[1] > 1 else torch.zeros_like(mean)
    small = F.adaptive_avg_pool2d(torch.cat([mean, change], dim=1), _SIDE)
    return small.flatten(1)
