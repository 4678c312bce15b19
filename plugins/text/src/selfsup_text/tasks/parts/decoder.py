"""A decoder for tasks that reconstruct texts: causal self-attention, and cross-attention to the encoder's output."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.errors import ConfigError
from selfsup.tasks import HEAD_WIDTH, Block, lattice_positions, visibility


class CrossAttention(nn.Module):
    """Pre-norm attention of [B, L, dim] to a memory [B, K, memory_dim]."""

    def __init__(self, dim: int, memory_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(memory_dim, 2 * dim)
        self.projection = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, visible: Tensor | None) -> Tensor:
        """The update of ``x``; ``visible`` ([B, 1, 1, K] bool) marks the memory that may be attended to."""
        B, L, D = x.shape
        q = self.query(self.norm(x)).view(B, L, self.heads, D // self.heads).transpose(1, 2)
        k, v = self.key_value(memory).view(B, -1, 2, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        out: Tensor = self.projection(mixed.transpose(1, 2).reshape(B, L, D))
        return out


class TextDecoder(nn.Module):
    """A causal transformer with cross-attention to a memory before each block, and sine-cosine positions.

    In Vaswani et al. 2017 a block attends to earlier tokens first and then to the memory.

    Args:
        dim: width of input and output.
        memory_dim: width of the memory.
        depth: number of blocks.
        heads: attention heads; None: about one per 32 channels, a divisor of ``dim``.

    Raises:
        ConfigError: ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, memory_dim: int, depth: int, heads: int | None = None) -> None:
        super().__init__()
        heads = heads or next(h for h in range(max(1, dim // HEAD_WIDTH), 0, -1) if dim % h == 0)
        if dim % heads:
            raise ConfigError(f"A decoder of width {dim} cannot have decoder_heads={heads}: they must divide the width.")
        self.cross = nn.ModuleList(CrossAttention(dim, memory_dim, heads) for _ in range(depth))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor, padding: Tensor | None = None) -> Tensor:
        """[B, L, dim], the states that predict the next tokens.

        Args:
            x: [B, L, dim], embeddings of the tokens so far; padding at the end affects no earlier token.
            memory: [B, K, memory_dim].
            padding: [B, K] bool, True for memory to ignore.
        """
        L = x.shape[1]
        behind = visibility(None, torch.arange(L, device=x.device).unsqueeze(0))
        visible = None if padding is None else ~padding[:, None, None, :]
        x = x + lattice_positions((L,), x.shape[-1], x.device)
        for cross, block in zip(self.cross, self.blocks, strict=True):
            x = block(x + cross(x, memory, visible), behind)
        out: Tensor = self.norm(x)
        return out
