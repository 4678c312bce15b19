"""``mel-transformer``: the transformer on whole log-mel frames that Mockingjay and TERA train."""

from __future__ import annotations

from pydantic import Field

from selfsup.backbones import BackboneRecipe
from selfsup_audio.backbones.mel_vit import MelViT, MelViTConfig


class MelTransformerConfig(MelViTConfig):
    """Options of :class:`MelViT` with other defaults: a token is all bands of a few frames."""

    patch_frames: int = Field(3, ge=1, le=1024)
    """Frames of a token; 3 in Mockingjay, 1 in TERA."""
    patch_mels: int | None = Field(None, ge=1)
    """Mel bands of a token, a divisor of their number; None: all, as in Mockingjay and TERA."""


RECIPE = BackboneRecipe(config=MelTransformerConfig, build=MelViT)
"""``mel-transformer``."""
