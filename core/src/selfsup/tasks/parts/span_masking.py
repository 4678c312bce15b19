"""Draw masks of spans that start at random tokens and may overlap (wav2vec 2.0, HuBERT)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfsup.errors import ConfigError
from selfsup.tasks.parts.random_masking import TokenMask

_UNIT = 1_000_000
"""Shares are counted in millionths, in integers: host and device then agree on every count."""


def span_mask(
    batch_size: int,
    grid: tuple[int, ...],
    start_share: float,
    length: int,
    *,
    min_spans: int = 2,
    padding: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> TokenMask:
    """Hide spans of ``length`` tokens (Baevski et al. 2020, arXiv 2006.11477, section 3.1).

    A share of the tokens are drawn without replacement as beginnings; each hides itself and those behind it, and spans may
    overlap. The number of beginnings is rounded up or down at random so that its mean is exact. At 0.065 and 10, about half of
    a long sample is hidden, in spans of 14.7 on average (appendix A.2). Unlike the paper, a span never leaves its sample, is at
    most half as long as it, and one token at least stays; on a lattice of several axes spans run on from row to row.

    Args:
        batch_size: B.
        grid: the lattice of the N tokens.
        start_share: share of the real tokens at which a span begins.
        length: tokens of a span.
        min_spans: least spans of a sample, where there is room.
        padding: [B, N] bool; padding is never hidden.
        generator: source of the draws; None: torch's global one.
        device: where to draw; ``padding``'s by default.

    Returns:
        With as many slots for hidden tokens as spans without overlap fill; ``keep`` holds N less that of the kept ones.

    Raises:
        ConfigError: the lattice has fewer than two tokens.
    """
    N = math.prod(grid)
    if N < 2:
        raise ConfigError(f"A sample of {N} token(s) cannot be masked: one must stay and one be hidden. Cut it into more.")
    device = padding.device if padding is not None else (device or torch.device("cpu"))
    place = torch.arange(N, device=device).unsqueeze(0)
    real = torch.full((batch_size, 1), N, device=device) if padding is None else (~padding).sum(dim=1, keepdim=True)
    share = round(start_share * _UNIT)
    chance = torch.randint(_UNIT, (batch_size, 1), generator=generator, device=device)
    width = (real // 2).clamp(min=1, max=length)
    starts = ((real * share + chance) // _UNIT).clamp(min=min_spans)
    starts = torch.minimum(starts, real - width + 1)
    # Places are counted among the real tokens alone, wherever the padding lies.
    score = torch.rand(batch_size, N, generator=generator, device=device).masked_fill(place > real - width, math.inf)
    begins = torch.zeros(batch_size, N, dtype=torch.long, device=device)
    begins = begins.scatter(1, score.argsort(dim=1), (place < starts).long())
    before = begins.cumsum(dim=1)
    covered = before - torch.where(place >= width, before.gather(1, (place - width).clamp(min=0)), 0) > 0
    if padding is not None:
        rank = (~padding).cumsum(dim=1) - 1
        covered = covered.gather(1, rank.clamp(min=0)) & ~padding
    counts = torch.minimum(covered.sum(dim=1, keepdim=True), real - 1).clamp(min=0)
    order = torch.rand(batch_size, N, generator=generator, device=device) + 2 * ~covered
    order = (order if padding is None else order.masked_fill(padding, math.inf)).argsort(dim=1)
    M = min(max((N * share + _UNIT - 1) // _UNIT, min_spans) * min(length, max(N // 2, 1)), N - 1)
    return TokenMask(
        keep=order.gather(1, counts + place[:, : N - M]),
        hidden=order[:, :M],
        mask=torch.zeros_like(covered).scatter(1, order, place < counts),
        weight=(place[:, :M] < counts).float(),
    )
