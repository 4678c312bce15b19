"""Draw random masks and coarse block masks with a fixed count of tokens per sample.

All draws are batched, on the device, from one generator. Shapes depend on the lattice and the options alone, never on what
was drawn or on how much of a sample is padding, so that nothing has to wait for the device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.errors import ConfigError
from selfsup.objectives.base import Term

_UNIT = 1_000_000
"""Ratios are counted in millionths, in integers: host and device then agree on every count."""


class TokenMask(NamedTuple):
    """A split of N tokens into M hidden and K = N - M kept ones."""

    keep: Tensor
    """[B, K] long, the kept tokens in random order; a sample with padding fills up with padding, which nothing looks at."""
    hidden: Tensor
    """[B, M] long, the hidden tokens in random order."""
    mask: Tensor
    """[B, N] bool, True where a token is hidden."""
    weight: Tensor | None
    """[B, M] float, 1 where ``hidden`` holds a hidden token and 0 where it only fills a shorter sample up; None: all ones."""


def hidden_count(n: int, ratio: float) -> int:
    """How many of ``n`` tokens are hidden: ceil(n * ratio), but at least one and not all."""
    return max(min(max(-(-n * _millionths(ratio) // _UNIT), 1), n - 1), 0)


def random_mask(
    batch_size: int,
    grid: tuple[int, ...],
    ratio: float,
    *,
    block: int | tuple[int, ...] = 1,
    padding: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> TokenMask:
    """Hide random tokens, or random blocks of ``block`` tokens a side.

    With ``block=1`` this is MAE's mask (He et al. 2021, arXiv 2111.06377, section 3). With more it is SimMIM's (Xie et al.
    2021, arXiv 2111.09886, section 3.2): ceil(blocks * ratio) whole blocks. Where the blocks do not fit the lattice, or
    samples are padded, the last block is cut so that the count stays exactly ceil(tokens * ratio).

    Args:
        batch_size: B.
        grid: the lattice of the N tokens.
        ratio: share hidden, in (0, 1).
        block: tokens a side, along every axis of the lattice or along each; see :func:`tube` for video.
        padding: [B, N] bool; padding is never hidden, and the ratio is of the real tokens.
        generator: source of the draws; None: torch's global one.
        device: where to draw; ``padding``'s by default.

    Raises:
        ConfigError: the lattice has fewer than two tokens, so that nothing could be both kept and hidden.
    """
    device = padding.device if padding is not None else (device or torch.device("cpu"))
    N = math.prod(grid)
    score = torch.rand(batch_size, N, generator=generator, device=device)
    count = hidden_count(N, ratio)
    sides = (block,) * len(grid) if isinstance(block, int) else block
    if max(sides) > 1:
        coarse = tuple(-(-size // side) for size, side in zip(grid, sides, strict=True))
        order = torch.rand(batch_size, math.prod(coarse), generator=generator, device=device).argsort(dim=1)
        score = score + order.argsort(dim=1)[:, _coarse_index(grid, coarse, sides, device)]
        if padding is None and all(size % side == 0 for size, side in zip(grid, sides, strict=True)):
            count = hidden_count(math.prod(coarse), ratio) * math.prod(sides)
    return split_by_score(score, count, ratio, padding)


def tube(grid: tuple[int, ...]) -> tuple[int, ...]:
    """The block of :func:`random_mask` that hides a place at all times, the first axis of the lattice, or at none.

    VideoMAE's tubes (Tong et al. 2022, arXiv 2203.12602, section 3.3): what is hidden at one time cannot be copied off another.

    Raises:
        ConfigError: the lattice has one axis, so that hiding a tube would hide everything.
    """
    if len(grid) < 2:
        raise ConfigError(
            f"Tubes run along the first axis of a lattice, and the tokens lie on one axis only ({grid[0]} of them): take "
            "another masking."
        )
    return (grid[0], *(1 for _ in grid[1:]))


def split_by_score(score: Tensor, count: int, ratio: float, padding: Tensor | None) -> TokenMask:
    """Hide the tokens of the lowest ``score``.

    Args:
        score: [B, N] finite.
        count: hidden tokens of a sample without padding.
        ratio: share hidden of the real tokens of a sample with padding.
        padding: [B, N] bool, or None.

    Raises:
        ConfigError: there are fewer than two tokens.
    """
    N = score.shape[1]
    if not 0 < count < N:
        raise ConfigError(f"A sample of {N} token(s) cannot be masked: one must stay and one be hidden. Cut it into more.")
    if padding is None:
        order = score.argsort(dim=1)
        mask = torch.zeros_like(score, dtype=torch.bool).scatter(1, order[:, :count], True)
        return TokenMask(keep=order[:, count:], hidden=order[:, :count], mask=mask, weight=None)
    order = score.masked_fill(padding, math.inf).argsort(dim=1)
    real = (~padding).sum(dim=1, keepdim=True)
    counts = -(-real * _millionths(ratio) // _UNIT)
    counts = torch.minimum(counts.clamp(min=1), real - 1).clamp(min=0)
    place = torch.arange(N, device=score.device).unsqueeze(0)
    mask = torch.zeros_like(padding).scatter(1, order, place < counts)
    # Kept tokens follow the hidden ones in ``order``; a sample's own count says where they begin.
    keep = order.gather(1, counts + place[:, : N - count])
    weight = (place[:, :count] < counts).float()
    return TokenMask(keep=keep, hidden=order[:, :count], mask=mask, weight=weight)


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """[B, K, ...], the tokens of ``x`` ([B, N, ...]) at ``index`` ([B, K])."""
    trailing = x.shape[2:]
    index = index.view(*index.shape, *(1 for _ in trailing)).expand(*index.shape, *trailing)
    return x.gather(1, index)


def weighted_mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    """Scalar mean of ``loss``, by ``weight`` of its shape if given; 0 where all weights are 0."""
    if weight is None:
        return loss.mean()
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def mean_term(loss: Tensor, weight: Tensor | None) -> Term:
    """The mean of ``loss``, by ``weight`` of its shape if given, and how many tokens it is over.

    Without weights every sample has equally many tokens, so that the mean is one over samples.
    """
    return Term(weighted_mean(loss, weight), None if weight is None else weight.detach().sum())


def lattice_coordinates(grid: tuple[int, ...], device: torch.device) -> Tensor:
    """[N, d] long, where each token lies on the lattice, row-major."""
    axes = torch.meshgrid(*(torch.arange(size, device=device) for size in grid), indexing="ij")
    return torch.stack(axes, dim=-1).flatten(0, -2)


def _coarse_index(grid: tuple[int, ...], coarse: tuple[int, ...], sides: tuple[int, ...], device: torch.device) -> Tensor:
    """[N] long, the coarse block that each token lies in."""
    places = lattice_coordinates(grid, device)
    index = places[:, 0] // sides[0]
    for axis in range(1, len(grid)):
        index = index * coarse[axis] + places[:, axis] // sides[axis]
    return index


def _millionths(ratio: float) -> int:
    return round(ratio * _UNIT)
