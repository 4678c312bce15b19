"""Mix waveforms with other recordings of the batch, add noise, and change their loudness."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup_audio.waveforms import real_samples


def loudness(waveform: Tensor, length: Tensor) -> Tensor:
    """[B, 1], the root mean square over the real samples of [B, T]; padding is zero."""
    return (waveform.square().sum(dim=1, keepdim=True) / length.unsqueeze(1).clamp(min=1)).sqrt()


def mix_with_others(waveform: Tensor, length: Tensor, most: float, *, generator: torch.Generator | None) -> Tensor:
    """Mix each recording with another one of the batch, at equal loudness (mixup).

    The energy of each band becomes (1 - r) of the one and r of the other, r uniform in 0..``most``, as in BYOL-A's mixing of
    log-mel spectrograms (Niizumi et al. 2021, arXiv:2103.06695, section III-B1), except for the interference of the two. In the
    paper the other recording comes from a memory of 2048 earlier clips, at its own loudness.

    Args:
        waveform: [B, T] float, zero where it is not real.
        length: [B] long, real samples; the other recording is cut to them.
        most: largest part of the energy that comes from the other, 0..1.
        generator: source of randomness.
    """
    n = waveform.shape[0]
    if n < 2:
        return waveform
    device = waveform.device
    steps = torch.randint(1, n, (n,), generator=generator, device=device)
    other = waveform[(torch.arange(n, device=device) + steps) % n]
    other = other * real_samples(length, waveform.shape[1])
    part = uniform((n, 1), 0.0, most, generator=generator, device=device)
    match = loudness(waveform, length) / loudness(other, length).clamp(min=1e-5)
    return (1 - part).sqrt() * waveform + part.sqrt() * match * other


def add_noise(
    waveform: Tensor, length: Tensor, snr: tuple[float, float], probability: float, *, generator: torch.Generator | None
) -> Tensor:
    """Add white noise to some recordings.

    Args:
        waveform: [B, T] float, zero where it is not real.
        length: [B] long; nothing is added behind it.
        snr: smallest and largest ratio of the recording's energy to the noise's, in decibels; uniform. Silence stays silent.
        probability: that a recording gets noise.
        generator: source of randomness.
    """
    n, device = waveform.shape[0], waveform.device
    decibels = uniform((n, 1), *snr, generator=generator, device=device)
    chosen = torch.rand((n, 1), generator=generator, device=device) < probability
    noise = torch.randn(waveform.shape, generator=generator, device=device) * real_samples(length, waveform.shape[1])
    return waveform + noise * (loudness(waveform, length) * decibels_to_factor(-decibels) * chosen)


def change_gain(waveform: Tensor, most: float, *, generator: torch.Generator | None) -> Tensor:
    """Make each recording louder or softer by up to ``most`` decibels."""
    decibels = uniform((waveform.shape[0], 1), -most, most, generator=generator, device=waveform.device)
    return waveform * decibels_to_factor(decibels)


def decibels_to_factor(decibels: Tensor) -> Tensor:
    """The factor on amplitudes."""
    return torch.exp(decibels * 0.11512925464970229)  # ln(10) / 20


def uniform(
    shape: tuple[int, ...], low: float, high: float, *, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Uniform float32 numbers in [low, high)."""
    return torch.rand(shape, generator=generator, device=device).mul_(high - low).add_(low)
