"""A small vision transformer on tubelets."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import BackboneRecipe, Encoded, Finetuning, TokenBackbone, Tokens, vision_transformer_finetuning
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks.masking import gather_tokens
from selfsup.tasks.transformer import Transformer, lattice_positions
from selfsup.types import Batch, Info
from selfsup_video.backbones.base import VideoBackbone
from selfsup_video.sizes import patch_size_for


class VideoViTConfig(Config):
    """Options of ``video-vit-small``."""

    tubelet: int = Field(2, ge=1, le=16)
    """Frames of a tubelet; 2 in VideoMAE and ViViT."""
    patch_size: int | None = Field(None, ge=1)
    """Side of a tubelet in pixels; None: 4 up to 32 pixels, 8 up to 64, else 16 (16 in VideoMAE)."""
    embed_dim: int = Field(192, ge=16, le=4096)
    """Width D of the tokens; 384 in VideoMAE's ViT-S, 192 in DeiT-Ti."""
    depth: int = Field(6, ge=1, le=64)
    """Blocks; 12 in VideoMAE."""
    heads: int = Field(3, ge=1)
    """Attention heads, a divisor of the width; 6 in VideoMAE's ViT-S, 3 in DeiT-Ti."""


class VideoViT(VideoBackbone, TokenBackbone):
    """Joint space-time attention over tubelets, mean pooled (ViT-S of VideoMAE, Tong et al. 2022, arXiv:2203.12602, smaller).

    Positions are fixed sines and cosines on the lattice (time, y, x), so that any length and size will do; a length that the
    tubelet does not divide is filled up with its last frame. Of several clips all tubelets see each other. The targets of
    masked modelling are the normalised pixels of each tubelet, P = tubelet * patch * patch * 3.
    """

    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"

    def __init__(self, config: VideoViTConfig, info: Info) -> None:
        super().__init__(info)
        size = int(info["image_size"])
        self.tubelet, self.patch_size = config.tubelet, config.patch_size or patch_size_for(size)
        if size % self.patch_size:
            raise ConfigError(
                f"backbone.patch_size={self.patch_size} does not divide the image size {size}: choose another, or "
                "processor.image_size."
            )
        self.embed_dim = config.embed_dim
        self.target_dim = self.tubelet * self.patch_size**2 * 3
        self.embedding = nn.Linear(self.target_dim, config.embed_dim)
        self.transformer = Transformer(config.embed_dim, config.depth, config.heads, shrink_residuals=True)
        nn.init.xavier_uniform_(self.embedding.weight)
        nn.init.zeros_(self.embedding.bias)

    def forward(self, batch: Batch) -> Encoded:
        """The mean of all tokens."""
        tokens = self.tokenize(batch)
        encoded = self.encode(tokens)
        return Encoded(encoded.mean(dim=1), encoded, tokens.grid)

    def input_projection(self) -> list[nn.Parameter]:
        """Of the tubelets."""
        return list(self.embedding.parameters())

    def tokenize(self, batch: Batch) -> Tokens:
        """Embed the tubelets.

        Raises:
            ConfigError: the patch size does not divide the frames.
        """
        pixels, grid = self._tubelets(batch)
        embeddings = self.embedding(pixels)
        positions = lattice_positions(grid, self.embed_dim, embeddings.device).unsqueeze(0)
        return Tokens(embeddings, positions, grid)

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Mix all tokens, or only those of ``keep``."""
        x = tokens.embeddings + tokens.positions
        out: Tensor = self.transformer(x if keep is None else gather_tokens(x, keep))
        return out

    def blocks(self) -> list[nn.Module]:
        """Those of the transformer."""
        return list(self.transformer.blocks)

    @property
    def finetuning(self) -> Finetuning:
        """As MAE's."""
        return vision_transformer_finetuning(self.embed_dim)

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each block, the last one normalised."""
        return self.transformer.layers(tokens.embeddings + tokens.positions)

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, P]: each tubelet's normalised pixels, as (frame, row, column, channel)."""
        with torch.no_grad():
            return self._tubelets(batch)[0]

    def _tubelets(self, batch: Batch) -> tuple[Tensor, tuple[int, int, int]]:
        video = batch["video"]
        height, width = video.shape[3:]
        if height % self.patch_size or width % self.patch_size:
            raise ConfigError(
                f"frames of {height}x{width} pixels cannot be cut into tubelets of {self.patch_size}: choose sizes "
                "(processor.image_size, views.global_size, views.local_size) that it divides, or another backbone.patch_size."
            )
        return tubelets(self.normalized(video), self.tubelet, self.patch_size)


def tubelets(video: Tensor, length: int, size: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Cut videos [B, T, C, H, W] into tubelets of ``length`` frames and ``size`` pixels a side.

    Returns:
        [B, N, length * size * size * C], row-major over the lattice, and the lattice (time, y, x). Where ``length`` does not
        divide T, the last frame is repeated.
    """
    B, T, C, H, W = video.shape
    if T % length:
        video = torch.cat([video, video[:, -1:].expand(-1, length - T % length, -1, -1, -1)], dim=1)
    grid = (video.shape[1] // length, H // size, W // size)
    lattice = video.reshape(B, grid[0], length, C, grid[1], size, grid[2], size)
    return lattice.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(B, grid[0] * grid[1] * grid[2], -1), grid


def build_video_vit(config: VideoViTConfig, info: Info) -> VideoViT:
    """Make the transformer.

    Raises:
        ConfigError: the patch size does not divide the image, or the heads the width.
    """
    return VideoViT(config, info)


SMALL = BackboneRecipe(config=VideoViTConfig, build=build_video_vit)
"""``video-vit-small``."""
