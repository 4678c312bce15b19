"""A random equaliser, which imitates other microphones, rooms and voices."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_audio.augmentations.mixing import decibels_to_factor, uniform
from selfsup_audio.waveforms import real_samples

_POINTS = 8
"""Frequencies at which the change is drawn, evenly spaced on a scale that is linear at the bottom and then logarithmic."""
_REACH = 256
"""Zeros that are appended to the recording, so that the filter does not wrap its beginning around to its end. At 12 decibels
less than 0.3 % of the amplitude reaches farther."""
_FACTORS = (8, 9, 10, 12, 15)


def equalize(waveform: Tensor, length: Tensor, most: float, *, generator: torch.Generator | None) -> Tensor:
    """Change eight frequencies, evenly spaced to the ear, by up to ``most`` decibels each, and interpolate between them.

    Phases and the end of each recording do not change.

    Args:
        waveform: [B, T] float, zero where it is not real.
        length: [B] long, real samples.
        most: largest change in decibels.
        generator: source of randomness.
    """
    n, samples = waveform.shape
    size = _fft_size(samples + _REACH)
    drawn = uniform((n, _POINTS), -most, most, generator=generator, device=waveform.device)
    decibels = drawn @ _hats(size // 2 + 1, waveform.device)
    filtered = torch.fft.irfft(torch.fft.rfft(waveform, n=size) * decibels_to_factor(decibels), n=size)[:, :samples]
    kept: Tensor = filtered * real_samples(length, samples)
    return kept


def _fft_size(least: int) -> int:
    """The smallest product of a power of two and one of 8, 9, 10, 12, 15 that is even and at least ``least``: a fast size."""
    return min(factor << max(-(-least // factor) - 1, 1).bit_length() for factor in _FACTORS)


def _hats(n_bins: int, device: torch.device) -> Tensor:
    """[points, n_bins]: the weight of each point at each frequency; columns sum to one."""
    frequency = torch.linspace(0, 1, n_bins, device=device)
    place = torch.log1p(frequency * 10) / torch.log1p(torch.full((), 10.0, device=device)) * (_POINTS - 1)
    points = torch.arange(_POINTS, device=device, dtype=place.dtype).unsqueeze(1)
    return (1 - (place.unsqueeze(0) - points).abs()).clamp(min=0)
