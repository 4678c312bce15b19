"""Random windows of a batch of waveforms, played faster or slower: a crop in time and a change of pitch in one reading."""

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
    """Which part of each recording is read, and how fast."""

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
    """Draw a window for each recording, wholly within what is real of it.

    Args:
        length: [B] long, real samples.
        share: smallest and largest part of the recording that is read.
        speed: slowest and fastest; uniform in its logarithm. 2 is an octave up in half of the time.
        longest: samples that the share is of where a recording has more; None: always of all.
        within: [B, 1] long, where segments of ``longest`` samples begin (:func:`random_segments`); windows lie in these. None:
            anywhere in the recording.
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

    No filter goes before: where it is played faster, what lies above half of the new rate comes back lower (aliasing). At the
    small changes of an augmentation that is little.

    Args:
        waveform: [B, T] float.
        windows: one a recording.
        n_samples: most samples of the result; a window that is longer is cut.
        resampled: whether any is played at another speed than it was recorded.

    Returns:
        [B, n_samples], zero behind the end of each window, and [B] long, where that is.
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
    """The ``crop`` entry of a view, [B, 1, 2]: where its ``n_samples`` begin, and how far they reach, in 0..1 of the source."""
    origin = windows.start.float() / source_samples
    extent = windows.rate.float() / _ONE * n_samples / source_samples
    return torch.stack([origin, extent], dim=-1)
