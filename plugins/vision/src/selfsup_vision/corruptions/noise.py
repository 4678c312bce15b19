"""Denoising: add noise to the image and predict the clean one."""

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
from selfsup_vision.corruptions.decoder import image_decoder


class NoiseConfig(Config):
    """Options of :class:`Noise`."""

    kind: Literal["masking", "gaussian", "salt-and-pepper"] = "masking"
    """Noise: black pixels, Gaussian noise, or black and white pixels; masking in Vincent et al. 2008, all three in 2010."""
    amount: float = Field(0.25, gt=0, le=1)
    """Share of pixels corrupted, or for Gaussian noise its standard deviation in 0..1; 0.25 in Vincent et al."""
    decoder_width: int = Field(128, ge=8)
    """Channels of the decoder at the feature map's size; the paper's decoder is one layer."""


class Noise(Corruption):
    """Denoising (Vincent et al. 2008, ICML; 2010, JMLR 11), with squared error over all pixels."""

    def __init__(self, config: NoiseConfig, info: Info) -> None:
        super().__init__()
        self.config, self.info = config, info

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """The target is the clean image [B, C, S, S] in 0..1. Pixels are replaced in all their channels at once."""
        clean = to_float(batch["image"])
        device, amount = clean.device, self.config.amount
        if self.config.kind == "gaussian":
            noise = torch.randn(clean.shape, generator=generator, device=device)
            return Corrupted({"image": clean + amount * noise}, clean)
        shape = (clean.shape[0], 1, *clean.shape[2:])
        corrupted = torch.rand(shape, generator=generator, device=device) < amount
        value = torch.zeros(shape, device=device)
        if self.config.kind == "salt-and-pepper":
            value = (torch.rand(shape, generator=generator, device=device) < 0.5).float()
        return Corrupted({"image": torch.where(corrupted, value, clean)}, clean)

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """From the feature map to an image."""
        return image_decoder(backbone, self.info, self.config.decoder_width)

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Mean squared error, in float32."""
        return Term((prediction.float() - corrupted.target).square().mean())


RECIPE = CorruptionRecipe(config=NoiseConfig, build=Noise)
"""Denoising of images."""
