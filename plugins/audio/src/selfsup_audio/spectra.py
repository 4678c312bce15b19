"""Log-mel spectrograms and MFCC of a batch of waveforms, on its device, with the padding of their frames."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import compute_deltas, create_dct, melscale_fbanks

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup_audio.waveforms import to_float

_FLOOR = 1e-6
"""Added to energies before the logarithm: far below the hiss of a recording, so that silence is finite and no outlier."""
_LARGEST_FFT = 16384
FIXED_MEAN, FIXED_STD = -5.0, 4.5
"""Of log-mel energies over spoken digits and everyday sounds, roughly: what ``standardize="fixed"`` shifts and scales by."""


class LogMelConfig(Config):
    """Options of :class:`LogMel`."""

    n_mels: int = Field(64, ge=4, le=512)
    """Mel bands; 64 in BYOL-A, 128 in AST, 80 in APC."""
    window_seconds: float = Field(0.025, gt=0, le=1)
    """Length of a frame's Hann window in seconds; 0.025 in AST, 0.064 in BYOL-A."""
    hop_seconds: float = Field(0.01, gt=0, le=1)
    """Seconds from one frame to the next; 0.01 in AST and BYOL-A."""
    fmin: float = Field(60.0, ge=0)
    """Lower edge of the lowest band in Hz; 60 in BYOL-A."""
    fmax: float | None = Field(None, gt=0)
    """Upper edge of the highest band in Hz; None: half the sample rate (BYOL-A: 7800 at 16 kHz)."""
    standardize: Literal["clip", "fixed", "none"] = "clip"
    """Zero mean and unit variance over each clip's own real frames, by constants (loudness stays), or not at all."""

    @model_validator(mode="after")
    def _overlaps(self) -> Self:
        if self.hop_seconds > self.window_seconds:
            raise ValueError(
                f"hop_seconds={self.hop_seconds} exceeds window_seconds={self.window_seconds}: what lies between two frames "
                "would never be seen"
            )
        return self


class LogMel(nn.Module):
    """The logarithm of the energy in bands of equal width on the mel scale (HTK's), a frame every hop.

    Frame f covers the window from sample ``f * hop`` on. Only frames that lie wholly in the recording are real, since the end
    of a recording within a window is a click in all bands; a recording that is shorter than a window has one frame. Computed in
    float32, whatever the precision of the networks.

    Args:
        config: bands, window, hop, standardisation.
        sample_rate: in Hz.

    Raises:
        ConfigError: the bands do not fit the sample rate, or the window is shorter than two samples.
    """

    window: Tensor
    bands: Tensor

    def __init__(self, config: LogMelConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.win = round(config.window_seconds * sample_rate)
        self.hop = max(round(config.hop_seconds * sample_rate), 1)
        top = sample_rate / 2 if config.fmax is None else config.fmax
        if not config.fmin < top <= sample_rate / 2:
            raise ConfigError(
                f"mel.fmin={config.fmin:g} and mel.fmax={top:g} Hz are no bands of recordings at {sample_rate} Hz: "
                f"they must satisfy 0 <= fmin < fmax <= {sample_rate / 2:g}."
            )
        if self.win < 2:
            raise ConfigError(f"mel.window_seconds={config.window_seconds} is shorter than two samples at {sample_rate} Hz.")
        self.n_fft = _fft_size(self.win, sample_rate, config.n_mels, config.fmin, top)
        window = torch.hann_window(self.win)
        bands = melscale_fbanks(self.n_fft // 2 + 1, config.fmin, top, config.n_mels, sample_rate)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bands", bands, persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Frames of a recording of ``n_samples``: those that lie wholly in it, and at least one."""
        return max((n_samples - self.win) // self.hop, 0) + 1

    def frame_counts(self, length: Tensor) -> Tensor:
        """:meth:`n_frames` of [B] long, on the device."""
        return (length - self.win).div(self.hop, rounding_mode="floor").clamp(min=0) + 1

    def forward(self, waveform: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """The spectrogram.

        Args:
            waveform: [B, T], int16 or float in -1..1.
            length: [B] long, the samples that are real; the rest is zero.

        Returns:
            [B, F, n_mels] float32, zero where it is padding, and [B, F] bool, True where it is padding.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            x = to_float(waveform)
            count = self.n_frames(x.shape[1])
            x = F.pad(x, (0, (count - 1) * self.hop + self.win - x.shape[1]))
            spectrum = torch.fft.rfft(x.unfold(-1, self.win, self.hop) * self.window, n=self.n_fft)
            energy = (spectrum.real.square() + spectrum.imag.square()) @ self.bands
            logarithm = (energy + _FLOOR).log()
            padding = torch.arange(count, device=length.device).unsqueeze(0) >= self.frame_counts(length).unsqueeze(1)
            return self._standardized(logarithm, padding), padding

    def _standardized(self, x: Tensor, padding: Tensor) -> Tensor:
        if self.config.standardize == "none":
            return x.masked_fill(padding.unsqueeze(-1), 0.0)
        real = (~padding).unsqueeze(-1).to(x.dtype)
        if self.config.standardize == "fixed":
            return (x - FIXED_MEAN) / FIXED_STD * real
        count = real.sum(dim=(1, 2), keepdim=True).clamp(min=1) * x.shape[2]
        centred = (x - (x * real).sum(dim=(1, 2), keepdim=True) / count) * real
        deviation = (centred.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
        # Silence, with equal bands, becomes zeros and not amplified rounding errors.
        return centred / deviation.clamp(min=1e-2)


class MFCCConfig(Config):
    """Options of :class:`MFCC`."""

    n_mfcc: int = Field(13, ge=2, le=128)
    """Coefficients; 13 in HuBERT."""
    deltas: bool = False
    """Whether their first and second differences over time follow; so in HuBERT, which makes 39 numbers a frame."""
    mel: LogMelConfig = LogMelConfig(standardize="none")
    """The spectrogram that they are computed from."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.n_mfcc > self.mel.n_mels:
            raise ValueError(f"n_mfcc={self.n_mfcc} coefficients need at least as many bands, and mel.n_mels={self.mel.n_mels}")
        return self


class MFCC(nn.Module):
    """Mel-frequency cepstral coefficients: the orthonormal cosine transform (DCT-II) of each log-mel frame.

    Args:
        config: coefficients, and the spectrogram below them.
        sample_rate: in Hz.

    Raises:
        ConfigError: the bands do not fit the sample rate.
    """

    transform: Tensor

    def __init__(self, config: MFCCConfig, sample_rate: int) -> None:
        super().__init__()
        self.deltas = config.deltas
        self.mel = LogMel(config.mel, sample_rate)
        self.register_buffer("transform", create_dct(config.n_mfcc, config.mel.n_mels, "ortho"), persistent=False)
        self.n_features = config.n_mfcc * (3 if config.deltas else 1)

    def forward(self, waveform: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`LogMel.forward`: [B, F, n_features] float32, zero at padding, and [B, F] bool."""
        with torch.autocast(waveform.device.type, enabled=False):
            logarithm, padding = self.mel(waveform, length)
            parts = [logarithm @ self.transform]
            for _ in range(2 * self.deltas):
                parts.append(compute_deltas(_last_repeated(parts[-1], padding).transpose(1, 2)).transpose(1, 2))
            return torch.cat(parts, dim=-1).masked_fill(padding.unsqueeze(-1), 0.0), padding


def _last_repeated(frames: Tensor, padding: Tensor) -> Tensor:
    """[B, F, P] with padding replaced by the last real frame of each recording, for differences at its end."""
    last = (~padding).sum(dim=1, keepdim=True) - 1
    index = torch.minimum(torch.arange(frames.shape[1], device=frames.device).unsqueeze(0), last)
    return frames.gather(1, index.unsqueeze(-1).expand(-1, -1, frames.shape[2]))


def _fft_size(win: int, sample_rate: int, n_mels: int, fmin: float, fmax: float) -> int:
    """The power of two that holds the window, and whose bins are so dense that even the narrowest band has one.

    Raises:
        ConfigError: there are too many bands for that.
    """
    low, high = _mel(fmin), _mel(fmax)
    narrowest = _hertz(low + 2 * (high - low) / (n_mels + 1)) - fmin
    size = 2
    while size < win or sample_rate / size >= narrowest:
        size *= 2
    if size > max(_LARGEST_FFT, 2 * win):
        raise ConfigError(f"mel.n_mels={n_mels} bands between {fmin:g} and {fmax:g} Hz are too narrow: choose fewer.")
    return size


def _mel(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)


def _hertz(mel: float) -> float:
    return 700.0 * math.expm1(mel / 1127.0)
