"""Random windows of a batch of waveforms, played faster or slower: crops in time that change the pitch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup_audio.augmentations.mixing import uniform

_BITS = 24
"""Places in a waveform are counted in 2^-24 samples, in integers: exact for recordings of any length."""
_ONE = 1 << _BITS


class Windows(NamedTuple):
    """Part of each recording, and its speed."""

    start: Tensor
    """[B, 1] long, the first sample."""
    extent: Tensor
    """[B, 1] long, samples of the recording that are read, at least one."""
    rate: Tensor
    """[B, 1] long, samples of the recording to one of the window, in 2^-24."""


def random_windows(
    length: Tensor,
    share: tuple[float, float],
    speed: tuple[float, float],
    *,
    longest: int | None = None,
    within: Tensor | None = None,
    generator: torch.Generator | None,
) -> Windows:
    """Draw a window for each recording, within its real samples.

    Args:
        length: [B] long, real samples.
        share: smallest and largest part of the recording that is read.
        speed: slowest and fastest; uniform in its logarithm. 2 is an octave up in half of the time.
        longest: samples that the share refers to in longer recordings; None: all.
        within: [B, 1] long, first samples of segments of ``longest`` samples (:func:`random_segments`) that hold the windows;
            None: windows anywhere in the recording.
        generator: source of randomness.
    """
    n, device = length.shape[0], length.device
    total = length.unsqueeze(1)
    part = uniform((n, 1), *share, generator=generator, device=device)
    whole = total if longest is None else total.clamp(max=longest)
    extent = torch.minimum((part * whole).floor().long().clamp(min=1), whole)
    room = (total if within is None else whole) - extent
    start = torch.minimum((torch.rand((n, 1), generator=generator, device=device) * (room + 1)).floor().long(), room)
    start = start if within is None else start + within
    octaves = uniform((n, 1), math.log(speed[0]), math.log(speed[1]), generator=generator, device=device)
    return Windows(start, extent, (octaves.exp() * _ONE).round().long())


def random_segments(length: Tensor, longest: int, *, generator: torch.Generator | None) -> Tensor:
    """[B, 1] long, where a random segment of ``longest`` samples begins in each recording; 0 in one that is not longer."""
    room = (length.unsqueeze(1) - longest).clamp(min=0)
    drawn = torch.rand((length.shape[0], 1), generator=generator, device=length.device)
    return torch.minimum((drawn * (room + 1)).floor().long(), room)


def read_windows(waveform: Tensor, windows: Windows, n_samples: int, *, resampled: bool) -> tuple[Tensor, Tensor]:
    """Read the windows, between samples by linear interpolation.

    There is no filter against aliasing, which is weak at the small changes of speed of an augmentation.

    Args:
        waveform: [B, T] float.
        windows: one a recording.
        n_samples: most samples of the result; a window that is longer is cut.
        resampled: whether any window has another speed than its recording.

    Returns:
        [B, n_samples], zero after the end of each window, and the lengths [B] long.
    """
    start, extent, rate = windows
    place = torch.arange(n_samples, device=waveform.device).unsqueeze(0) * rate
    last = start + extent - 1
    whole = torch.minimum(start + (place >> _BITS), last)
    read = waveform.gather(1, whole)
    if resampled:
        fraction = (place & (_ONE - 1)).to(waveform.dtype) / _ONE
        read = torch.lerp(read, waveform.gather(1, torch.minimum(whole + 1, last)), fraction)
    count = ((extent * _ONE + rate - 1) // rate).clamp(min=1, max=n_samples)
    real = torch.arange(n_samples, device=waveform.device).unsqueeze(0) < count
    return read * real, count.squeeze(1)


def locations(windows: Windows, source_samples: int, n_samples: int) -> Tensor:
    """The ``crop`` entry of a view, [B, 1, 2]: origin and extent of its ``n_samples`` in 0..1 of the source."""
    origin = windows.start.float() / source_samples
    extent = windows.rate.float() / _ONE * n_samples / source_samples
    return torch.stack([origin, extent], dim=-1)
