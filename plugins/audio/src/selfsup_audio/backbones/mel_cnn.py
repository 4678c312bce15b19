"""``mel-cnn``: the convolutional network of BYOL-A."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from pydantic import Field
from torch import nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, BackboneRecipe, Encoded, max_over_tokens, mean_over_tokens
from selfsup.config import Config
from selfsup.types import Batch, Info
from selfsup_audio.backbones.frames import whole_pieces
from selfsup_audio.spectra import LogMel, LogMelConfig

_BLOCKS = 3
_STRIDE = 2**_BLOCKS
"""Frames, and bands, that the pooling layers merge into one."""


class MelCNNConfig(Config):
    """Options of :class:`MelCNN`."""

    embed_dim: int = Field(512, ge=8, le=8192)
    """Width D of the embedding; 512, 1024 or 2048 in the paper."""
    channels: int = Field(64, ge=4, le=1024)
    """Channels of each convolution; 64 in the paper."""
    mel: LogMelConfig = LogMelConfig()
    """The spectrogram; 64 bands in the paper, with windows of 0.064 s and constants of the data set to standardise by."""


class MelCNN(Backbone):
    """Three blocks of convolution, batch norm, ReLU and pooling, then two layers on the bands of each time.

    The encoder of BYOL-A (Niizumi et al. 2021, arXiv:2103.06695, section III-C): maximum plus mean over time. Tokens are the
    outputs at the times, each of eight frames. Unlike the paper's it has no dropout, and padding changes nothing.
    """

    modality: ClassVar[str] = "audio"

    def __init__(self, config: MelCNNConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.mel = LogMel(config.mel, int(info["sample_rate"]))
        widths = [1] + [config.channels] * _BLOCKS
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        bands = -(-config.mel.n_mels // _STRIDE)
        self.layers = nn.Sequential(
            nn.Linear(bands * config.channels, config.embed_dim),
            nn.ReLU(),
            nn.Linear(config.embed_dim, config.embed_dim),
            nn.ReLU(),
        )

        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # He's initialisation: with torch's own the embedding starts a hundred times smaller and learns slowly.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, batch: Batch) -> Encoded:
        """Encode; N is the number of frames over eight, rounded up."""
        frames, padding = self.mel(batch["waveform"], batch["length"])
        frames, padding = whole_pieces(frames, padding, _STRIDE)
        x = F.pad(frames, (0, -frames.shape[2] % _STRIDE)).unsqueeze(1)
        real = ~padding[:, None, :, None]
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            # Every piece is zero after the end, so that the embedding does not depend on the padding.
            x = x * real.repeat_interleave(_STRIDE >> block, dim=2).to(x.dtype)
            # ReLU after the pooling gives the same, on a quarter of the numbers.
            x = F.relu(F.max_pool2d(norm(convolution(x)), 2))
        tokens = self.layers(x.permute(0, 2, 3, 1).flatten(2))
        pooled = mean_over_tokens(tokens, padding) + max_over_tokens(tokens, padding)
        return Encoded(pooled, tokens, (tokens.shape[1],), padding)


RECIPE = BackboneRecipe(config=MelCNNConfig, build=MelCNN)
"""``mel-cnn``."""
