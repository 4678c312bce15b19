"""``mel-vit`` and ``mel-transformer``: a transformer on patches, or on whole frames, of a log-mel spectrogram."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import BackboneRecipe
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.types import Batch, Info
from selfsup_audio.backbones.frames import whole_pieces
from selfsup_audio.backbones.tokens import AudioTokenBackbone
from selfsup_audio.spectra import LogMel, LogMelConfig


class MelViTConfig(Config):
    """Options of :class:`MelViT`."""

    patch_frames: int = Field(8, ge=1, le=1024)
    """Frames of a patch; 16 in AST and Audio-MAE, 2 in SSAST for speech, 1 in Mockingjay."""
    patch_mels: int | None = Field(16, ge=1)
    """Mel bands of a patch, a divisor of their number; 16 in AST; None: all, as in SSAST for speech and Mockingjay."""
    embed_dim: int = Field(128, ge=8, le=4096)
    """Width D of the tokens; 768 in AST."""
    depth: int = Field(4, ge=1, le=64)
    """Blocks; 12 in AST."""
    heads: int | None = Field(None, ge=1)
    """Attention heads, a divisor of the width; None: one for every 32 channels (12 of 64 channels in AST)."""
    mel: LogMelConfig = LogMelConfig()
    """The spectrogram; 128 bands in AST."""


class MelTransformerConfig(MelViTConfig):
    """Options of :class:`MelViT` with other defaults: a token is all bands of a few frames."""

    patch_frames: int = Field(3, ge=1, le=1024)
    """Frames of a token; 3 in Mockingjay, 1 in TERA."""
    patch_mels: int | None = Field(None, ge=1)
    """Mel bands of a token, a divisor of their number; None: all, as in Mockingjay and TERA."""


class MelViT(AudioTokenBackbone):
    """A vision transformer on spectrograms (AST: Gong et al. 2021, arXiv:2104.01778), without a class token.

    The lattice of tokens is (time, mel). With ``patch_mels=None`` a token has all bands of its frames and the lattice is
    (time,): the bidirectional transformer on mel frames of Mockingjay and TERA. Unlike in AST, patches do not overlap and
    positions are fixed, so that clips may have any length. Targets are the patch's standardised log-mel energies, frame by
    frame: P = patch_frames * patch_mels.

    Raises:
        ConfigError: the patches do not fit the bands, or the heads the width.
    """

    def __init__(self, config: MelViTConfig, info: Info) -> None:
        super().__init__(config.embed_dim, config.depth, config.heads)
        n_mels = config.mel.n_mels
        self.patch_frames, self.patch_mels = config.patch_frames, config.patch_mels or n_mels
        if n_mels % self.patch_mels:
            raise ConfigError(f"backbone.patch_mels={self.patch_mels} does not divide backbone.mel.n_mels={n_mels}.")
        self.mel = LogMel(config.mel, int(info["sample_rate"]))
        self.rows = n_mels // self.patch_mels
        self.by_frames = config.patch_mels is None
        self.target_dim = self.patch_frames * self.patch_mels
        self.embed = nn.Linear(self.target_dim, config.embed_dim)

    def content(self, batch: Batch) -> tuple[Tensor, tuple[int, ...], Tensor]:
        """Embed the patches."""
        patches, times, padding = self._patches(batch)
        return self.embed(patches), (times,) if self.by_frames else (times, self.rows), padding

    def input_projection(self) -> list[nn.Parameter]:
        """Of the patches."""
        return list(self.embed.parameters())

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """Of the patches."""
        return self.input_projection()

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, P]: the standardised log-mel energies of each patch."""
        with torch.no_grad():
            return self._patches(batch)[0]

    def _patches(self, batch: Batch) -> tuple[Tensor, int, Tensor]:
        """[B, N, P], the number of patches along time, and the padding [B, N]; row-major over (time, mel)."""
        frames, padding = self.mel(batch["waveform"], batch["length"])
        frames, padding = whole_pieces(frames, padding, self.patch_frames)
        B, times = padding.shape
        lattice = frames.view(B, times, self.patch_frames, self.rows, self.patch_mels)
        patches = lattice.transpose(2, 3).reshape(B, times * self.rows, self.target_dim)
        return patches, times, padding.repeat_interleave(self.rows, dim=1)


RECIPE = BackboneRecipe(config=MelViTConfig, build=MelViT)
"""``mel-vit``."""
MEL_TRANSFORMER = BackboneRecipe(config=MelTransformerConfig, build=MelViT)
"""``mel-transformer``, which Mockingjay and TERA train."""
