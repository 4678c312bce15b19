"""Pooling of the tokens of a text to one embedding."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from selfsup.backbones import max_over_tokens, mean_over_tokens
from selfsup.runtime import full

Pooling = Literal["mean", "cls", "max", "mean+max", "last"]
"""``cls`` is the class token's output (not for causal networks), ``last`` that of the last token (only for these)."""


def pool(kind: Pooling, tokens: Tensor, padding: Tensor, first: Tensor) -> Tensor:
    """[B, D], or [B, 2 D] for ``mean+max``, one embedding per sample, at least in float32.

    Args:
        kind: of pooling.
        tokens: [B, N, D], the content.
        padding: [B, N] bool; every sample has at least one token.
        first: [B, D], the class token's output.
    """
    if kind == "cls":
        return full(first)
    if kind == "last":
        index = ((~padding).sum(dim=1) - 1).clamp(min=0)
        return full(tokens.gather(1, index.view(-1, 1, 1).expand(-1, 1, tokens.shape[-1])).squeeze(1))
    tokens = full(tokens)
    parts = []
    if kind != "max":
        parts.append(mean_over_tokens(tokens, padding))
    if kind != "mean":
        parts.append(max_over_tokens(tokens, padding))
    return torch.cat(parts, dim=1) if parts[1:] else parts[0]
