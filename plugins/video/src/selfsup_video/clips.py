"""Choose the frames of a video that the processor keeps, and random windows of clips.

A batch holds K clips of n frames, joined along T = K * n. A window lies within one clip, so that its frames are evenly spaced.
The clips of a video with fewer than n frames are padded with its last frame, and ``length`` ([B] long) is the number of real
frames of each clip: windows, embeddings and losses ignore the others. A batch of whole clips has no such key.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsup.errors import ConfigError
from selfsup.types import Batch, Info


def clip_indices(n_source: int, frames: int, stride: int, clips: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[clips * frames]: the frames of a video that are kept.

    The clips are spread evenly: a single one is in the middle; of several the first begins and the last ends with the video. If
    the video is too short for the stride, the largest that fits is used. If it has fewer than ``frames`` frames, the last one
    is repeated, and :func:`real_frames` gives the number of real ones.

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
    """[t]: the frames around the middle clip of a video that are stored, at most ``most``, as many before as after the clip.

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
    """[B] long, number of real frames of each clip; None: all frames of all clips."""
    return batch.get("length")


def is_padding(real: Tensor, frames: int) -> Tensor:
    """[B, frames] bool, True after the ``real`` ([B] long) frames of a clip."""
    return torch.arange(frames, device=real.device) >= real.unsqueeze(1)


class Window(NamedTuple):
    """The frames of each sample that are seen."""

    places: Tensor
    """[B, L] long, places along T; after the end of a video its last seen frame is repeated."""
    real: Tensor | None
    """[B] long, number of real frames of the L; None: all."""

    def of(self, video: Tensor) -> Batch:
        """The frames of ``video`` ([B, T, ...]) as a batch: ``video`` [B, L, ...], and ``length`` if not all are real."""
        seen = take_frames(video, self.places)
        return {"video": seen} if self.real is None else {"video": seen, "length": self.real}


def clip_shape(video: Tensor, info: Info) -> tuple[int, int]:
    """Number of clips K and frames a clip n of a batch's video [B, T, ...].

    The video comes from the processor (T = K * n), or is a view or window of at most n frames: one clip.
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
        place: [B] in 0..1, place of the window in the clip (0: first, 1: last place in which it fits); None: random.
        clip: [B] long, number of the clip; None: random.
        real: [B] long, number of real frames of each clip (:func:`real_frames`): the window lies in these, and starts with the
            first if it does not fit.

    Raises:
        ConfigError: a clip has too few frames (checked for an int ``spacing``; with a tensor the last frame is repeated).
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
        ConfigError: a clip has too few frames.
    """
    if isinstance(spacing, int) and (length < 1 or spacing < 1 or (length - 1) * spacing >= frames):
        raise ConfigError(
            f"{length} frames, {spacing} apart, do not fit into a clip of {frames}: use fewer, or set processor.frames higher."
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
    # After the end the last seen frame is repeated, whatever the spacing is.
    inside = inside.gather(1, torch.minimum(torch.arange(length, device=device), shown.unsqueeze(1) - 1))
    return Window(clip.unsqueeze(1) * frames + inside, shown)


def take_frames(video: Tensor, index: Tensor) -> Tensor:
    """[B, L, ...], the frames of ``video`` ([B, T, ...]) at ``index`` ([B, L] long)."""
    B, T = video.shape[:2]
    flat = index + torch.arange(B, device=video.device).unsqueeze(1) * T
    # Indexing a flat list copies whole frames as blocks, unlike gather along T.
    return video.flatten(0, 1).index_select(0, flat.flatten()).view(B, index.shape[1], *video.shape[2:])


def changes(x: Tensor, clips: int, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Absolute differences of consecutive frames within each clip; zeros for clips of one frame.

    Args:
        x: [B, T, ...], of all clips.
        clips: K.
        padding: [B, T] bool, or None.

    Returns:
        [B, K * (n - 1), ...], and which of them involve padding: [B, K * (n - 1)] bool, or None.
    """
    each = x.view(x.shape[0], clips, -1, *x.shape[2:])
    if each.shape[2] == 1:
        return torch.zeros_like(x), None
    change = (each[:, :, 1:] - each[:, :, :-1]).abs().flatten(1, 2)
    return change, None if padding is None else padding.view(len(padding), clips, -1)[:, :, 1:].flatten(1)
