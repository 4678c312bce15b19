"""``wave-transformer-small``: convolutions on the waveform, then a transformer, as in wav2vec 2.0."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import BackboneRecipe
from selfsup.config import Config
from selfsup.types import Batch, Info
from selfsup_audio.backbones.tokens import AudioTokenBackbone
from selfsup_audio.spectra import LogMel, LogMelConfig
from selfsup_audio.waveforms import standardized

_FRAME_SECONDS = 0.02
"""From one token to the next in wav2vec 2.0: 320 samples at 16 kHz."""


class WaveTransformerConfig(Config):
    """Options of :class:`WaveTransformer`."""

    channels: int = Field(64, ge=4, le=2048)
    """Channels of the convolutions; 512 in wav2vec 2.0."""
    embed_dim: int = Field(128, ge=8, le=4096)
    """Width D of the transformer; 768 in wav2vec 2.0 base."""
    depth: int = Field(4, ge=1, le=64)
    """Blocks of the transformer; 12 in wav2vec 2.0 base."""
    heads: int | None = Field(None, ge=1)
    """Attention heads, a divisor of the width; None: one for every 32 channels (12 of 64 channels in wav2vec 2.0 base)."""
    n_mels: int = Field(40, ge=4, le=512)
    """Mel bands of the targets of masked tasks that predict spectra; wav2vec 2.0 has no such targets."""


class Stem(nn.Module):
    """Convolutions with channel-wise layer norm and GELU; each but the first halves the number of frames.

    At 16 kHz these are the kernels (10, 3, 3, 3, 3, 2, 2) and strides (5, 2, 2, 2, 2, 2, 2) of wav2vec 2.0 (Baevski et al.
    2020, arXiv:2006.11477, section 4.2), with the layer norm of its large model, which padding does not change, unlike the
    group norm of the base model. At other rates the number of halvings brings a frame closest to 20 ms.

    Args:
        channels: of every convolution.
        sample_rate: in Hz.
    """

    def __init__(self, channels: int, sample_rate: int) -> None:
        super().__init__()
        halvings = _halvings(sample_rate)
        # The last two have kernels of two in the paper.
        self.kernels = [10] + [3] * max(halvings - 2, 0) + [2] * min(halvings, 2)
        self.strides = [5] + [2] * halvings
        widths = [1] + [channels] * len(self.kernels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, stride, bias=False)
            for before, after, kernel, stride in zip(widths, widths[1:], self.kernels, self.strides, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.kernels)
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.weight)  # type: ignore[arg-type]  # a module list forgets the type of its members
        self.hop, self.reach = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            self.reach += (kernel - 1) * self.hop
            self.hop *= stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, (N - 1) * hop + reach] to [B, N, channels]."""
        x = x.unsqueeze(1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x).transpose(1, 2))).transpose(1, 2)
        return x.transpose(1, 2)


class WaveTransformer(AudioTokenBackbone):
    """A small network like wav2vec 2.0: convolutions on the standardised waveform, then a transformer.

    Unlike in the paper, positions are fixed sines and cosines and not a convolution, so that tokens can be left out, and blocks
    are pre-norm. Targets of tasks that predict spectra are the standardised log-mel energies of each token's window.

    Raises:
        ConfigError: the heads do not divide the width, or the sample rate is too low for the bands.
    """

    def __init__(self, config: WaveTransformerConfig, info: Info) -> None:
        super().__init__(config.embed_dim, config.depth, config.heads)
        rate = int(info["sample_rate"])
        self.stem = Stem(config.channels, rate)
        self.norm = nn.LayerNorm(config.channels)
        self.embed = nn.Linear(config.channels, config.embed_dim)
        windows = LogMelConfig(n_mels=config.n_mels, window_seconds=self.stem.reach / rate, hop_seconds=self.stem.hop / rate)
        self.mel = LogMel(windows, rate)
        self.target_dim = config.n_mels

    def content(self, batch: Batch) -> tuple[Tensor, tuple[int, ...], Tensor]:
        """Convolve and embed."""
        length = batch["length"]
        x = standardized(batch["waveform"], length)
        N = self.mel.n_frames(x.shape[1])
        features = self.stem(F.pad(x, (0, (N - 1) * self.stem.hop + self.stem.reach - x.shape[1])))
        padding = torch.arange(N, device=length.device).unsqueeze(0) >= self.mel.frame_counts(length).unsqueeze(1)
        return self.embed(self.norm(features)), (N,), padding

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The convolutions, and what embeds their output."""
        return [*self.stem.parameters(), *self.norm.parameters(), *self.embed.parameters()]

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, n_mels]: the standardised log-mel energies of each token's window."""
        with torch.no_grad():
            energies: Tensor = self.mel(batch["waveform"], batch["length"])[0]
            return energies


def _halvings(sample_rate: int) -> int:
    """How often a fifth of the sample rate is halved to come next to a frame of 20 ms; six times at 16 kHz."""
    return max(round(math.log2(_FRAME_SECONDS * sample_rate / 5)), 1)


RECIPE = BackboneRecipe(config=WaveTransformerConfig, build=WaveTransformer)
"""``wave-transformer-small``."""
