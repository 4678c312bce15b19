"""Denoising: add noise to the video and predict the clean one."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.tasks import Corrupted, Corruption, CorruptionRecipe, Term
from selfsup.types import Batch, Info
from selfsup_images.pipeline import to_float
from selfsup_video.clips import clip_shape, is_padding, real_frames
from selfsup_video.corruptions.decoder import VideoDecoder


class NoiseConfig(Config):
    """Options of :class:`Noise`."""

    kind: Literal["masking", "gaussian", "frames"] = "masking"
    """Black pixels, independent in each frame (masking in Vincent et al. 2008); Gaussian noise; or whole black frames."""
    amount: float = Field(0.25, gt=0, lt=1)
    """Share of pixels or frames hidden, or for Gaussian noise its standard deviation in 0..1; 0.25 in Vincent et al."""
    decoder_width: int = Field(64, ge=8)
    """Channels of the decoder at the feature map's size; the paper's decoder is one layer."""


class Noise(Corruption):
    """Denoising (Vincent et al. 2008, ICML; 2010, JMLR 11), with squared error over all pixels of all frames."""

    def __init__(self, config: NoiseConfig, info: Info) -> None:
        super().__init__()
        self.config, self.info = config, dict(info)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """The target is the clean video [B, T, 3, S, S] in 0..1. Pixels are hidden in all their channels at once."""
        clean, real = to_float(batch["video"]), real_frames(batch)
        clips, frames = clip_shape(clean, self.info)
        weight = None if real is None else (~is_padding(real.clamp(max=frames), frames).repeat(1, clips)).float()
        device, amount = clean.device, self.config.amount
        if self.config.kind == "gaussian":
            noisy = clean + amount * torch.randn(clean.shape, generator=generator, device=device)
            return Corrupted({**batch, "video": noisy}, clean, weight)
        B, T, _, height, width = clean.shape
        shape = (B, T, 1, height, width) if self.config.kind == "masking" else (B, T, 1, 1, 1)
        hidden = torch.rand(shape, generator=generator, device=device) < amount
        return Corrupted({**batch, "video": clean.masked_fill(hidden, 0.0)}, clean, weight)

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """From the feature map to a video."""
        return VideoDecoder(backbone, self.info, self.config.decoder_width)

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Mean squared error over the real frames, in float32."""
        error = (prediction.float() - corrupted.target).square()
        if corrupted.weight is None:
            return Term(error.mean())
        frames = corrupted.weight.sum()
        return Term((error.mean(dim=(2, 3, 4)) * corrupted.weight).sum() / frames.clamp(min=1), frames)


RECIPE = CorruptionRecipe(config=NoiseConfig, build=Noise)
"""Denoising of videos."""
