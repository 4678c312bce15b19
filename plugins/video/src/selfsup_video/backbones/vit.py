"""``video-vit-small``: a vision transformer on tubelets."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import (
    BackboneRecipe,
    Finetuning,
    TokenBackbone,
    Tokens,
    vision_transformer_finetuning,
)
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformer, gather_tokens, lattice_positions
from selfsup.types import Batch, Info
from selfsup_video.backbones.adoption import adopt
from selfsup_video.backbones.base import VideoBackbone
from selfsup_video.clips import clip_shape, is_padding, real_frames, take_frames
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
    positions: Literal["lattice", "sequence"] = "lattice"
    """Fixed sines and cosines of a tubelet's time, row and column, or of its index in the sequence, as in VideoMAE's code."""


class VideoViT(VideoBackbone, TokenBackbone):
    """Joint space-time attention over tubelets, mean pooled (ViT-S of VideoMAE, Tong et al. 2022, arXiv:2203.12602, smaller).

    Positions are fixed sines and cosines on the lattice (time, y, x), for any length and size; a length that the tubelet does
    not divide is padded with the last frame. Each clip is padded and encoded separately, and the embedding is the mean over
    clips. Tubelets without a real frame are padding. The targets of masked modelling are the pixels of each tubelet, P =
    tubelet * patch * patch * 3. Tasks that normalise them do so for each channel separately, as in the authors' code of
    VideoMAE: together, the offsets of three channels would mostly say which channel a number belongs to.

    Raises:
        ConfigError: the patch size does not divide the image, or the heads the width.
    """

    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"
    target_channels = 3

    def __init__(self, config: VideoViTConfig, info: Info) -> None:
        super().__init__(info)
        size = int(info["image_size"])
        self.positions = config.positions
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

    def input_projection(self) -> list[nn.Parameter]:
        """Of the tubelets."""
        return list(self.embedding.parameters())

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """Of the tubelets."""
        return self.input_projection()

    def tokenize(self, batch: Batch) -> Tokens:
        """Embed the tubelets.

        Raises:
            ConfigError: the patch size does not divide the frames.
        """
        pixels, grid = self._tubelets(batch)
        embeddings = self.embedding(pixels)
        clips = self._clips(grid)
        one = (grid[0] // clips, *grid[1:])
        placed = lattice_positions if self.positions == "lattice" else sequence_positions
        positions = placed(one, self.embed_dim, embeddings.device).repeat(clips, 1).unsqueeze(0)
        real = real_frames(batch)
        if real is None:
            return Tokens(embeddings, positions, grid)
        shown = -(real.clamp(max=one[0] * self.tubelet).neg().div(self.tubelet, rounding_mode="floor"))
        padding = is_padding(shown, one[0]).repeat(1, clips).repeat_interleave(one[1] * one[2], dim=1)
        return Tokens(embeddings, positions, grid, padding)

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Mix all tokens of each clip, or only those of ``keep``."""
        if keep is None:
            return self.layer_outputs(tokens)[-1]
        x, padding = tokens.embeddings + tokens.positions, tokens.padding
        clips = self._clips(tokens.grid)
        padding = None if padding is None else gather_tokens(padding, keep)
        group = None if clips == 1 else keep.div(x.shape[1] // clips, rounding_mode="floor")
        out: Tensor = self.transformer(gather_tokens(x, keep), padding, None, group)
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
        clips = self._clips(tokens.grid)
        x, padding = (tokens.embeddings + tokens.positions), tokens.padding
        apart = x.reshape(x.shape[0] * clips, -1, x.shape[2])
        padding = None if padding is None else padding.reshape(len(apart), -1)
        return [each.view(x.shape) for each in self.transformer.layers(apart, padding)]

    def _clips(self, grid: tuple[int, ...]) -> int:
        """Number of clips of a lattice."""
        one = -(-int(self.info["frames"]) // self.tubelet)
        return grid[0] // one if grid[0] > one and grid[0] % one == 0 else 1

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
        clips, frames = clip_shape(video, self.info)
        real = real_frames(batch)
        apart = video.reshape(-1, frames, *video.shape[2:])
        if real is not None:
            # A tubelet with some real frames is padded like the last one of any clip.
            last = real.clamp(max=frames).repeat_interleave(clips).unsqueeze(1) - 1
            apart = take_frames(apart, torch.arange(frames, device=video.device).clamp(max=last))
        apart = self.scaled(apart)
        pixels, (t, y, x) = tubelets(apart, self.tubelet, self.patch_size)
        return pixels.view(video.shape[0], -1, self.target_dim), (clips * t, y, x)


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


def sequence_positions(grid: tuple[int, ...], dim: int, device: torch.device) -> Tensor:
    """Fixed positions [N, dim] of tokens by their index: alternating sines and cosines (Vaswani et al. 2017)."""
    places = torch.arange(math.prod(grid), device=device, dtype=torch.float32).unsqueeze(1)
    channels = torch.arange(dim, device=device)
    angles = places * 10000.0 ** (-2.0 * (channels // 2) / dim)
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos())


SMALL = BackboneRecipe(config=VideoViTConfig, build=VideoViT, adopt=adopt)
"""``video-vit-small``."""
