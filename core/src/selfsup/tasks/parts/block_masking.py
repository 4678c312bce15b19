"""Draw masks of rectangular blocks: targets and contexts of I-JEPA and V-JEPA, and block-wise masks of an exact count.

Every sample has blocks of its own sizes, shapes and places. Peers draw one size for a batch on the host and cut every
sample down to the smallest; here all is drawn on the device, index lists have a length that the lattice fixes, and weights
mark what only fills them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.tasks.parts.random_masking import TokenMask, hidden_count, lattice_coordinates, split_by_score

Range = tuple[float, float]


class MultiBlockMask(NamedTuple):
    """I-JEPA's split: n blocks (or unions of blocks) to predict, and a context that shares no token with them."""

    context: Tensor
    """[B, K] long, tokens that the encoder sees. A sample with fewer than K repeats its own, so that none is ever a target."""
    targets: Tensor
    """[B, n, T] long, the tokens of each block."""
    weight: Tensor
    """[B, n, T] bool, True where ``targets`` holds a token of the block, False where it only fills the list up."""


def random_blocks(
    batch_size: int,
    n_blocks: int,
    grid: tuple[int, ...],
    scale: Range,
    aspect: Range,
    *,
    padding: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """[B, n_blocks, N] bool, True inside of each block.

    A block has a share of the lattice's last two axes, uniform in ``scale``, and a ratio of height to width, uniform in
    ``aspect``; it never spans an axis in full. Along a single axis it is a span (``aspect`` has no meaning), and along the
    axes before the last two it reaches from end to end, as V-JEPA's does in time (Bardes et al. 2024, arXiv 2404.08471).

    Args:
        batch_size: B.
        n_blocks: blocks a sample.
        grid: the lattice of the N tokens.
        scale: least and largest share.
        aspect: least and largest height / width.
        padding: [B, N] bool; on one axis, blocks lie within a sample's real tokens; padding is in no block.
        generator: source of the draws; None: torch's global one.
        device: where to draw; ``padding``'s by default.
    """
    device = padding.device if padding is not None else (device or torch.device("cpu"))
    place = lattice_coordinates(grid, device).unsqueeze(0)
    extent = _filled(grid, device)
    if padding is not None and len(grid) == 1:
        # Count places among the real tokens alone: a short sample then has blocks in proportion to its own length.
        place = (~padding).cumsum(dim=1).unsqueeze(-1) - 1
        extent = (~padding).sum(dim=1).float().view(-1, 1, 1)
    draws = torch.rand(2 + len(grid), batch_size, n_blocks, 1, generator=generator, device=device)
    share = scale[0] + (scale[1] - scale[0]) * draws[0]
    ratio = aspect[0] + (aspect[1] - aspect[0]) * draws[1]
    size = torch.maximum(torch.minimum(_block_size(extent, share, ratio), extent - 1), torch.ones_like(extent))
    if len(grid) > 2:
        size = torch.cat([extent[..., :-2].expand(*size.shape[:2], -1), size[..., -2:]], dim=-1)
    free = draws[2:].squeeze(-1).permute(1, 2, 0)
    origin = torch.minimum((free * (extent - size + 1)).floor(), extent - size)
    place, origin, size = place.unsqueeze(1), origin.unsqueeze(2), size.unsqueeze(2)
    inside = ((place >= origin) & (place < origin + size)).all(dim=-1)
    return inside if padding is None else inside & ~padding.unsqueeze(1)


def multi_block_mask(
    batch_size: int,
    grid: tuple[int, ...],
    *,
    n_targets: int,
    target_scale: Range,
    target_aspect: Range,
    context_scale: Range | None,
    context_share: float,
    min_context: int,
    union_share: float | None = None,
    padding: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> MultiBlockMask:
    """I-JEPA's multi-block masks (Assran et al. 2023, arXiv 2301.08243, section 3 and figure 4).

    The context is one large square block less all target blocks; of it at most K = ``context_share`` * N random tokens
    stay. Where fewer than ``min_context`` would be left, target tokens make up for them and are then no targets. Unlike the
    authors' code, scale and aspect are drawn apart (theirs come from one number) and sizes differ between samples.

    With ``union_share`` and no context block these are V-JEPA's masks (Bardes et al. 2024, arXiv 2404.08471, section 3.2): all
    blocks together are one target, and the context is what none of them covers.

    Args:
        batch_size: B.
        grid: the lattice of the N tokens.
        n_targets: target blocks a sample.
        target_scale: least and largest share of the lattice of a target block.
        target_aspect: least and largest height / width of a target block.
        context_scale: least and largest share of the lattice of the context block; None: the context may lie anywhere.
        context_share: K / N.
        min_context: least tokens of context.
        union_share: make one target of all target blocks, with at most this share of the N tokens, random ones; None: do not.
        padding: [B, N] bool; padding is neither context nor target.
        generator: source of the draws; None: torch's global one.
        device: where to draw; ``padding``'s by default.
    """
    device = padding.device if padding is not None else (device or torch.device("cpu"))
    N = math.prod(grid)
    targets = random_blocks(
        batch_size, n_targets, grid, target_scale, target_aspect, padding=padding, generator=generator, device=device
    )
    T = largest_block(grid, target_scale[1], target_aspect)
    if union_share is not None:
        targets, T = targets.any(dim=1, keepdim=True), min(n_targets * T, max(round(union_share * N), 1))
    is_target = targets.any(dim=1)
    in_block = torch.ones_like(is_target) if padding is None else ~padding
    if context_scale is not None:
        in_block = random_blocks(
            batch_size, 1, grid, context_scale, (1.0, 1.0), padding=padding, generator=generator, device=device
        ).squeeze(1)
    score = torch.rand(batch_size, N, generator=generator, device=device)
    score = score + 2 * is_target + 4 * ~in_block
    real = torch.full((batch_size, 1), N, device=device)
    if padding is not None:
        score = score.masked_fill(padding, math.inf)
        real = (~padding).sum(dim=1, keepdim=True)
    K = min(max(round(context_share * N), min_context, 1), N)
    found = (in_block & ~is_target).sum(dim=1, keepdim=True).clamp(max=K)
    count = torch.minimum(found.clamp(min=min(min_context, K)), real).clamp(min=1)
    order = score.argsort(dim=1)
    place = torch.arange(N, device=device).unsqueeze(0)
    seen = torch.zeros_like(is_target).scatter(1, order, place < count)
    context = order.gather(1, place[:, :K] % count)
    hidden = targets & ~seen.unsqueeze(1)
    if union_share is None:
        first = hidden.to(torch.int8).argsort(dim=2, descending=True, stable=True)
    else:
        first = score.unsqueeze(1).masked_fill(~hidden, math.inf).argsort(dim=2)
    first = first[..., : min(T, N)]
    return MultiBlockMask(context=context, targets=first, weight=hidden.gather(2, first))


def shuffled(mask: MultiBlockMask, order: Tensor) -> MultiBlockMask:
    """The same mask of other tokens: place i of the lattice stands for token ``order[:, i]`` ([B, N] long)."""
    targets = order.gather(1, mask.targets.flatten(1)).view_as(mask.targets)
    return MultiBlockMask(context=order.gather(1, mask.context), targets=targets, weight=mask.weight)


def block_mask(
    batch_size: int,
    grid: tuple[int, ...],
    ratio: float,
    scale: Range,
    aspect: Range,
    *,
    padding: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> TokenMask:
    """Hide exactly ceil(N * ratio) tokens, block after block, as BEiT does (Bao et al. 2021, arXiv 2106.08254, algorithm 1).

    Blocks are put down until the count is reached, and the last one is cut to meet it. BEiT draws the logarithm of the aspect
    uniformly, here it is the aspect itself.

    Args:
        batch_size: B.
        grid: the lattice of the N tokens.
        ratio: share hidden, in (0, 1).
        scale: least and largest share of the lattice of a block.
        aspect: least and largest height / width of a block.
        padding: [B, N] bool; padding is never hidden, and the ratio is of the real tokens.
        generator: source of the draws; None: torch's global one.
        device: where to draw; ``padding``'s by default.

    Raises:
        ConfigError: the lattice has fewer than two tokens.
    """
    device = padding.device if padding is not None else (device or torch.device("cpu"))
    # Twice as many blocks as cover the share in expectation; random tokens make up for a rare rest.
    n_blocks = math.ceil(2 * math.log(1 - ratio) / math.log(1 - min((scale[0] + scale[1]) / 2, 0.99)))
    blocks = random_blocks(batch_size, n_blocks, grid, scale, aspect, padding=padding, generator=generator, device=device)
    number = torch.arange(n_blocks, device=device).view(1, -1, 1)
    first = torch.where(blocks, number, n_blocks).amin(dim=1)
    noise = torch.rand(first.shape, generator=generator, device=device)
    return split_by_score(first + noise, hidden_count(math.prod(grid), ratio), ratio, padding)


@lru_cache(maxsize=64)
def largest_block(grid: tuple[int, ...], scale: float, aspect: Range) -> int:
    """Most tokens that a block of share ``scale`` can have at any aspect, rounding included."""
    if len(grid) == 1:
        return max(1, min(math.floor(scale * grid[0] + 0.5), grid[0] - 1))
    area = math.floor(grid[-2] * grid[-1] * scale)
    largest = 1
    for height in range(1, grid[-2] + 1):
        # The least aspect that still rounds to this height gives the widest block.
        least = max(aspect[0], (height - 0.5) ** 2 / max(area, 1))
        if least > aspect[1] or (height + 0.5) ** 2 < aspect[0] * area:
            continue
        width = math.floor(math.sqrt(area / least) + 0.5)
        largest = max(largest, min(height, max(grid[-2] - 1, 1)) * max(1, min(width, grid[-1] - 1)))
    return largest * math.prod(grid[:-2])


def _block_size(extent: Tensor, share: Tensor, ratio: Tensor) -> Tensor:
    """[B, n, d] float, the wanted sizes along each axis, as integers."""
    if extent.shape[-1] == 1:
        return (share * extent + 0.5).floor()
    area = (share * extent[..., -2:-1] * extent[..., -1:]).floor()
    height, width = ((area * ratio).sqrt() + 0.5).floor(), ((area / ratio).sqrt() + 0.5).floor()
    whole = extent[..., :-2].expand(*height.shape[:2], -1)
    return torch.cat([whole, height, width], dim=-1)


def _filled(grid: tuple[int, ...], device: torch.device) -> Tensor:
    """[1, 1, d] float on ``device``, made there: copying a list to a GPU would wait for it."""
    return torch.stack([torch.full((), float(size), device=device) for size in grid]).view(1, 1, -1)
