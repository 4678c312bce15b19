"""Corruptions of images: colorization, inpainting and denoising."""

from selfsup_vision.corruptions.colorization import Colorization, ColorizationConfig
from selfsup_vision.corruptions.inpainting import Inpainting, InpaintingConfig
from selfsup_vision.corruptions.noise import Noise, NoiseConfig

__all__ = ["Colorization", "ColorizationConfig", "Inpainting", "InpaintingConfig", "Noise", "NoiseConfig"]
