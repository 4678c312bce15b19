"""A plain transformer for decoders and predictors, with fixed sine-cosine positions on any lattice."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.errors import ConfigError
from selfsup.tasks.parts.random_masking import lattice_coordinates

HEAD_WIDTH = 32
"""Channels of an attention head by default: the 512 / 16 of MAE's decoder, the 384 / 12 of I-JEPA's predictor."""


class Block(nn.Module):
    """A pre-norm transformer block: self-attention, then a GELU MLP of four times the width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    @torch.no_grad()
    def scale_residuals(self, factor: float) -> None:
        """Multiply the weights of what is added to the input."""
        for added in (self.projection, self.mlp[2]):
            added.get_parameter("weight").mul_(factor)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Mix [B, N, D]; ``visible`` ([B, 1, 1 or N, N] bool) says which tokens may be looked at (by which)."""
        B, N, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        x = x + self.projection(mixed.transpose(1, 2).reshape(B, N, D))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Transformer(nn.Module):
    """Blocks and a final layer norm; linear layers start Xavier-uniform with zero bias, as in MAE.

    Args:
        dim: width D.
        depth: number of blocks.
        heads: attention heads; None: as near to one per 32 channels as divides ``dim``.
        shrink_residuals: start the weights of what each block adds smaller by sqrt(2 * depth), as GPT-2 has it (Radford et al.
            2019, section 2.3): with Xavier's alone the first steps of a backbone can drown what tells its inputs apart.

    Raises:
        ConfigError: ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, depth: int, heads: int | None = None, *, shrink_residuals: bool = False) -> None:
        super().__init__()
        heads = heads or next(h for h in range(max(1, dim // HEAD_WIDTH), 0, -1) if dim % h == 0)
        if dim % heads:
            raise ConfigError(f"A transformer of width {dim} cannot have {heads} heads: they must divide the width.")
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if shrink_residuals:
            for block in self.blocks:
                cast(Block, block).scale_residuals((2 * depth) ** -0.5)

    def forward(
        self, x: Tensor, padding: Tensor | None = None, order: Tensor | None = None, group: Tensor | None = None
    ) -> Tensor:
        """Mix [B, N, D].

        Args:
            x: the tokens.
            padding: [B, N] bool; tokens where it is True are looked at by none.
            order: [B or 1, N] long; a token looks at none of a higher number (causal attention). None: at all.
            group: [B or 1, N] long; a token looks only at those of its own number (the clip that it is of). None: at all.
        """
        return self.layers(x, padding, order, group)[-1]

    def layers(
        self, x: Tensor, padding: Tensor | None = None, order: Tensor | None = None, group: Tensor | None = None
    ) -> list[Tensor]:
        """The output of every block, [B, N, D] each; the last with the final norm."""
        visible = visibility(padding, order, group)
        outputs: list[Tensor] = []
        for block in self.blocks:
            x = block(x, visible)
            outputs.append(x)
        return [*outputs[:-1], self.norm(x)]


def visibility(padding: Tensor | None, order: Tensor | None, group: Tensor | None = None) -> Tensor | None:
    """[B or 1, 1, 1 or N, N] bool, which token (last axis) may be looked at by which; None: all by all.

    Args:
        padding: [B, N] bool, True where a token is looked at by none; or None.
        order: [B or 1, N] long, where each token stands in the order in which they may look back; or None.
        group: [B or 1, N] long, which token belongs with which; or None.
    """
    real = None if padding is None else ~padding[:, None, None, :]
    if order is None and group is None:
        return real
    visible = None if order is None else order[:, None, :, None] >= order[:, None, None, :]
    if group is not None:
        together = group[:, None, :, None] == group[:, None, None, :]
        visible = together if visible is None else visible & together
    assert visible is not None
    # Padding looks at itself: a softmax over nothing would be NaN.
    return visible if real is None else (visible & real) | torch.eye(visible.shape[3], dtype=torch.bool, device=visible.device)


def lattice_positions(grid: tuple[int, ...], dim: int, device: torch.device) -> Tensor:
    """Fixed sine-cosine positions [N, dim] float32 of a lattice's tokens, row-major.

    Every axis has an equal share of the channels, half sines and half cosines at frequencies 10000^(-i/F) (Vaswani et al.
    2017; on two axes as in MAE, He et al. 2021, arXiv 2111.06377). Channels that do not divide evenly stay zero.

    Raises:
        ConfigError: ``dim`` is too small to tell the axes apart.
    """
    frequencies = dim // (2 * len(grid))
    if frequencies == 0:
        raise ConfigError(f"A width of {dim} is too small for positions on {len(grid)} axes: use {2 * len(grid)} or more.")
    rates = 10000.0 ** (-torch.arange(frequencies, device=device, dtype=torch.float32) / frequencies)
    angles = lattice_coordinates(grid, device).float().unsqueeze(-1) * rates
    positions = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return F.pad(positions, (0, dim - positions.shape[1]))


def head_width(width: int | None, embed_dim: int) -> int:
    """``width``, or where it is None half the backbone's, as a multiple of 32 and at least 32.

    Half is MAE's 512 to ViT-L's 1024 and I-JEPA's 384 to ViT-B's 768.
    """
    return width or max(HEAD_WIDTH, embed_dim // 2 // HEAD_WIDTH * HEAD_WIDTH)
