"""Where in a video: the frames that the processor keeps, and random windows of what it kept.

A batch holds K clips of n frames, joined along T = K * n. A window lies within one clip, so that its frames are evenly spaced.
Where a video has fewer than n frames, its clips are filled up with its last one, and the batch says by ``length`` ([B] long)
how many frames of each clip are real: no window, no embedding and no loss sees the others. A batch of whole clips has no
such key.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsup.errors import ConfigError
from selfsup.types import Batch, Info


def clip_indices(n_source: int, frames: int, stride: int, clips: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[clips * frames]: which frames of a video are kept.

    The clips are spread evenly: one lies in the middle, of several the first begins with the video and the last ends with it.
    Where the video is too short for the stride, that is shrunk to the largest that fits; where it has fewer than ``frames``
    frames, the last one is repeated, and :func:`real_frames` says how many there are.

    Args:
        n_source: frames of the video, at least 1.
        frames: n, frames of a clip.
        stride: source frames from one kept frame to the next.
        clips: K.
    """
    stride = fitting_stride(n_source, frames, stride)
    slack = max(n_source - 1 - (frames - 1) * stride, 0)
    starts = np.array([slack / 2]) if clips == 1 else np.linspace(0, slack, clips)
    indices = np.floor(starts).astype(np.int64)[:, None] + np.arange(frames, dtype=np.int64) * stride
    return np.asarray(np.minimum(indices, n_source - 1).reshape(-1), dtype=np.int64)


def stretch_indices(n_source: int, frames: int, stride: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[t]: the frames of a video around its middle clip that are stored, at most ``most``, as many before it as behind.

    The clip itself is :func:`clip_indices` of one clip; other arguments as there.
    """
    clip = clip_indices(n_source, frames, stride, 1)
    stride = fitting_stride(n_source, frames, stride)
    more = max(min((most - frames) // 2, int(clip[0]) // stride, (n_source - 1 - int(clip[-1])) // stride), 0)
    before, behind = (clip[0] - stride * np.arange(more, 0, -1), clip[-1] + stride * np.arange(1, more + 1))
    return np.concatenate([before, clip, behind])


def fitting_stride(n_source: int, frames: int, stride: int) -> int:
    """The stride, or the largest at which ``frames`` frames fit into a video of ``n_source``; at least 1."""
    return max(min(stride, (n_source - 1) // (frames - 1)), 1) if frames > 1 else stride


def real_frames(batch: Batch) -> Tensor | None:
    """[B] long, how many frames of each clip are real; None: all of every clip."""
    return batch.get("length")


def is_padding(real: Tensor, frames: int) -> Tensor:
    """[B, frames] bool, True for what lies behind the ``real`` ([B] long) frames of a clip."""
    return torch.arange(frames, device=real.device) >= real.unsqueeze(1)


class Window(NamedTuple):
    """Which frames are seen of each sample."""

    places: Tensor
    """[B, L] long, places along T; behind the end of a video its last frame seen, again."""
    real: Tensor | None
    """[B] long, how many of the L are real; None: all."""

    def of(self, video: Tensor) -> Batch:
        """The frames of ``video`` ([B, T, ...]) as a batch: ``video`` [B, L, ...], and ``length`` where not all are real."""
        seen = take_frames(video, self.places)
        return {"video": seen} if self.real is None else {"video": seen, "length": self.real}


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
    real: Tensor | None = None,
) -> Window:
    """A random window of one random clip of each sample.

    Args:
        video: [B, T, 3, H, W].
        info: of the processor.
        length: frames of the window.
        generator: source of randomness.
        spacing: kept frames from one to the next (playback speed); for all, or [B] long, one a sample.
        place: [B] in 0..1, where in the clip the window lies (0: first, 1: last place that it fits in); None: drawn.
        clip: [B] long, which clip; None: drawn.
        real: [B] long, frames of each clip that are real (:func:`real_frames`): the window lies among these, and where it does
            not fit it begins with the first.

    Raises:
        ConfigError: a clip has not so many frames (only said of a ``spacing`` for all; of a tensor the last frame repeats).
    """
    return window_index(
        video.shape[0],
        *clip_shape(video, info),
        length,
        generator,
        spacing=spacing,
        place=place,
        clip=clip,
        real=real,
        device=video.device,
    )


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
    real: Tensor | None = None,
    device: torch.device,
) -> Window:
    """A random window of each of n samples, see :func:`random_window`.

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
    last = torch.full((n,), frames - 1, device=device) if real is None else real.clamp(max=frames) - 1
    slack = last - (length - 1) * spacing
    slack = slack.clamp(min=0)
    start = torch.minimum((place * (slack + 1)).long(), slack)
    steps = torch.arange(length, device=device) * (spacing.unsqueeze(1) if isinstance(spacing, Tensor) else spacing)
    inside = start.unsqueeze(1) + steps
    if real is None:
        return Window(clip.unsqueeze(1) * frames + inside.clamp(max=frames - 1), None)
    shown = (inside <= last.unsqueeze(1)).sum(dim=1)
    # Behind the end the last frame that is seen comes again, whatever the spacing is.
    inside = inside.gather(1, torch.minimum(torch.arange(length, device=device), shown.unsqueeze(1) - 1))
    return Window(clip.unsqueeze(1) * frames + inside, shown)


def take_frames(video: Tensor, index: Tensor) -> Tensor:
    """[B, L, ...], the frames of ``video`` ([B, T, ...]) at ``index`` ([B, L] long)."""
    B, T = video.shape[:2]
    flat = index + torch.arange(B, device=video.device).unsqueeze(1) * T
    # Whole frames of one flat list are copied as blocks, which gather along T would not do.
    return video.flatten(0, 1).index_select(0, flat.flatten()).view(B, index.shape[1], *video.shape[2:])


def changes(x: Tensor, clips: int, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Absolute differences of consecutive frames within each clip; zeros, of one frame a clip.

    Args:
        x: [B, T, ...], of all clips.
        clips: K.
        padding: [B, T] bool, or None.

    Returns:
        [B, K * (n - 1), ...], and which of them have a frame behind the end: [B, K * (n - 1)] bool, or None.
    """
    each = x.view(x.shape[0], clips, -1, *x.shape[2:])
    if each.shape[2] == 1:
        return torch.zeros_like(x), None
    change = (each[:, :, 1:] - each[:, :, :-1]).abs().flatten(1, 2)
    return change, None if padding is None else padding.view(len(padding), clips, -1)[:, :, 1:].flatten(1)
