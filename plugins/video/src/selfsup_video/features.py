"""Raw features of videos: their mean image, and where they change."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.backbones import mean_over_tokens
from selfsup.types import Batch, Info
from selfsup_images.pipeline import to_float
from selfsup_video.clips import changes, clip_shape, is_padding, real_frames

_SIDE = 16
"""Pixels a side of both images: 1,536 numbers a video."""


def frame_pixels(batch: Batch, info: Info) -> Tensor:
    """The mean image, and the mean absolute difference of consecutive frames, of 16x16 pixels (area mean): [B, 1536].

    Only real frames are used, and differences within clips. For a video of one frame the difference is zero.
    """
    video, real = to_float(batch["video"]), real_frames(batch)
    clips, frames = clip_shape(video, info) if "frames" in info else (1, video.shape[1])
    padding = None if real is None else is_padding(real.clamp(max=frames), frames).repeat(1, clips)
    mean = _mean(video, padding)
    change = _mean(*changes(video, clips, padding))
    small = F.adaptive_avg_pool2d(torch.cat([mean, change], dim=1), _SIDE)
    return small.flatten(1)


def _mean(x: Tensor, padding: Tensor | None) -> Tensor:
    """[B, T, ...] over time, padding left out."""
    return mean_over_tokens(x.flatten(2), padding).view(x.shape[0], *x.shape[2:])
