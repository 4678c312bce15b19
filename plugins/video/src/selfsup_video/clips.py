"""Where in a video: the frames that the processor keeps, and random windows of what it kept.

A batch holds K clips of n frames, joined along T = K * n. A window lies within one clip, so that its frames are evenly spaced.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.errors import ConfigError
from selfsup.types import Info


def clip_indices(n_source: int, frames: int, stride: int, clips: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[clips * frames]: which frames of a video are kept.

    The clips are spread evenly: one lies in the middle, of several the first begins with the video and the last ends with it.
    Where the video is too short for the stride, that is shrunk to the largest that fits; where it has fewer than ``frames``
    frames, the last one is repeated.

    Args:
        n_source: frames of the video, at least 1.
        frames: n, frames of a clip.
        stride: source frames from one kept frame to the next.
        clips: K.
    """
    if frames > 1:
        stride = max(min(stride, (n_source - 1) // (frames - 1)), 1)
    slack = max(n_source - 1 - (frames - 1) * stride, 0)
    starts = np.array([slack / 2]) if clips == 1 else np.linspace(0, slack, clips)
    indices = np.floor(starts).astype(np.int64)[:, None] + np.arange(frames, dtype=np.int64) * stride
    return np.asarray(np.minimum(indices, n_source - 1).reshape(-1), dtype=np.int64)


def clip_shape(video: Tensor, info: Info) -> tuple[int, int]:
    """Number of clips K and frames a clip n of a batch's video [B, T, ...].

    It may be of the processor (T = K * n), or a view or window of at most n frames, which is one clip.
    """
    frames, length = int(info["frames"]), int(video.shape[1])
    return (length // frames, frames) if length > frames and length % frames == 0 else (1, length)


def random_window(
    video: Tensor,
    info: Info,
    length: int,
    generator: torch.Generator | None,
    *,
    spacing: int | Tensor = 1,
    place: Tensor | None = None,
    clip: Tensor | None = None,
) -> Tensor:
    """A random window of one random clip of each sample: [B, length, 3, H, W], of the video's type.

    Args:
        video: [B, T, 3, H, W].
        info: of the processor.
        length: frames of the window.
        generator: source of randomness.
        spacing: kept frames from one to the next (playback speed); for all, or [B] long, one a sample.
        place: [B] in 0..1, where in the clip the window lies (0: first, 1: last place that it fits in); None: drawn.
        clip: [B] long, which clip; None: drawn.

    Raises:
        ConfigError: a clip has not so many frames (only said of a ``spacing`` for all; of a tensor the last frame repeats).
    """
    index = window_index(
        video.shape[0],
        *clip_shape(video, info),
        length,
        generator,
        spacing=spacing,
        place=place,
        clip=clip,
        device=video.device,
    )
    return take_frames(video, index)


def window_index(
    n: int,
    clips: int,
    frames: int,
    length: int,
    generator: torch.Generator | None,
    *,
    spacing: int | Tensor = 1,
    place: Tensor | None = None,
    clip: Tensor | None = None,
    device: torch.device,
) -> Tensor:
    """[n, length] long: places along T of a random window of each of n samples, see :func:`random_window`.

    Raises:
        ConfigError: a clip has not so many frames.
    """
    if isinstance(spacing, int) and (length < 1 or spacing < 1 or (length - 1) * spacing >= frames):
        raise ConfigError(
            f"{length} frames, {spacing} apart, do not fit into a clip of {frames}: take fewer, or set processor.frames higher."
        )
    if clip is None:
        clip = torch.randint(clips, (n,), generator=generator, device=device)
    if place is None:
        place = torch.rand(n, generator=generator, device=device)
    slack = frames - 1 - (length - 1) * spacing
    slack = slack.clamp(min=0) if isinstance(slack, Tensor) else torch.full((n,), slack, device=device)
    start = torch.minimum((place * (slack + 1)).long(), slack)
    steps = torch.arange(length, device=device) * (spacing.unsqueeze(1) if isinstance(spacing, Tensor) else spacing)
    inside = (start.unsqueeze(1) + steps).clamp(max=frames - 1)
    return clip.unsqueeze(1) * frames + inside


def take_frames(video: Tensor, index: Tensor) -> Tensor:
    """[B, L, ...], the frames of ``video`` ([B, T, ...]) at ``index`` ([B, L] long)."""
    B, T = video.shape[:2]
    flat = index + torch.arange(B, device=video.device).unsqueeze(1) * T
    # Whole frames of one flat list are copied as blocks, which gather along T would not do.
    return video.flatten(0, 1).index_select(0, flat.flatten()).view(B, index.shape[1], *video.shape[2:])
