"""Resize the frames of a batch."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from selfsup.types import Batch

FRAMES = ("image", "video")
"""Keys of batches that hold square frames along their last two axes."""


def resize_frames(batch: Batch, size: int) -> Batch:
    """A batch whose frames have ``size`` pixels a side; the same batch if they already do, or if it holds no frames.

    Bilinear with antialiasing, on the batch's device; uint8 stays uint8, floats stay floats.
    """
    changed = {key: batch[key] for key in FRAMES if key in batch and tuple(batch[key].shape[-2:]) != (size, size)}
    for key, frames in changed.items():
        flat = frames.flatten(0, -4) if frames.ndim > 4 else frames
        pixels = flat if flat.is_floating_point() else flat.float()
        resized = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)
        if not frames.is_floating_point():
            resized = resized.round().clamp(0, 255).to(torch.uint8)
        changed[key] = resized.view(*frames.shape[:-2], size, size)
    return {**batch, **changed} if changed else batch
