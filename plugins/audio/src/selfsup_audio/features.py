"""Raw features of recordings: statistics of their spectra over time."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup.types import Batch, Info
from selfsup_audio.spectra import MFCC, LogMel, LogMelConfig, MFCCConfig


def mel_statistics(batch: Batch, info: Info) -> Tensor:
    """[B, 256]: mean, standard deviation, least and greatest log energy of each of 64 mel bands over the real frames.

    Energies are not standardised, so that they depend on loudness.
    """
    spectrum = LogMel(LogMelConfig(standardize="none"), int(info["sample_rate"])).to(batch["waveform"].device)
    return statistics(*spectrum(batch["waveform"], batch["length"]))


def mfcc_statistics(batch: Batch, info: Info) -> Tensor:
    """[B, 160]: the same of 20 mel-frequency cepstral coefficients and their first differences from frame to frame.

    The differences measure how fast the spectrum changes, which :func:`mel_statistics` does not.
    """
    cepstrum = MFCC(MFCCConfig(n_mfcc=20), int(info["sample_rate"])).to(batch["waveform"].device)
    frames, padding = cepstrum(batch["waveform"], batch["length"])
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    return torch.cat([statistics(frames, padding), statistics(frames - before, padding)], dim=1)


def statistics(frames: Tensor, padding: Tensor) -> Tensor:
    """Mean, standard deviation, minimum and maximum over the real frames.

    Args:
        frames: [B, F, P].
        padding: [B, F] bool; each sample has a real frame.

    Returns:
        [B, 4 P].
    """
    away = padding.unsqueeze(-1)
    real = (~away).to(frames.dtype)
    count = real.sum(dim=1).clamp(min=1)
    mean = (frames * real).sum(dim=1) / count
    deviation = (((frames - mean.unsqueeze(1)) * real).square().sum(dim=1) / count).sqrt()
    low = frames.masked_fill(away, torch.inf).amin(dim=1)
    high = frames.masked_fill(away, -torch.inf).amax(dim=1)
    return torch.cat([mean, deviation, low, high], dim=1)
