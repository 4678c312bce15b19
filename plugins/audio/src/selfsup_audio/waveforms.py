"""Waveforms of a batch as floating-point numbers, their real samples, and their standardisation."""

from __future__ import annotations

import torch
from torch import Tensor

FULL_SCALE = 32768.0
"""The value of 1.0 in 16-bit integers."""


def to_float(waveform: Tensor) -> Tensor:
    """int16 to float32 in -1..1; floating-point numbers as float32."""
    return waveform.float().mul_(1.0 / FULL_SCALE) if waveform.dtype == torch.int16 else waveform.float()


def real_samples(length: Tensor, n: int) -> Tensor:
    """[B, n] bool, True at the samples before the end ([B] long) of their recording."""
    return torch.arange(n, device=length.device).unsqueeze(0) < length.unsqueeze(1)


def standardized(waveform: Tensor, length: Tensor) -> Tensor:
    """[B, T] float32 with zero mean and unit variance over the real samples of each recording; zero after them.

    The input of wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477, section 4.2). Silence stays zero.
    """
    x = to_float(waveform)
    real = real_samples(length, x.shape[1]).to(x.dtype)
    count = real.sum(dim=1, keepdim=True).clamp(min=1)
    centred = (x - (x * real).sum(dim=1, keepdim=True) / count) * real
    deviation = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp(min=1e-5)
