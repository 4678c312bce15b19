"""Random masks over tokens or whole words, and replacements of hidden tokens. Batched, on the device, without host syncs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfsup.tasks import TokenMask

_UNIT = 1_000_000
"""Rates are integers in millionths, so that host and device agree on every count."""
_ROUNDS = 4
"""Rounds that fill a sample's budget with words that still fit; afterwards at most about one token is left."""


def most_hidden(n: int, rate: float) -> int:
    """The largest result of :func:`draw_counts` for ``n`` tokens: ceil(n * rate)."""
    return -(-n * round(rate * _UNIT) // _UNIT)


def fewest_hidden(n: int, rate: float) -> int:
    """The smallest result of :func:`draw_counts` for ``n`` tokens: floor(n * rate)."""
    return n * round(rate * _UNIT) // _UNIT


def draw_counts(total: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """[B, 1] long, ``total * rate``, randomly rounded up or down such that the mean is exact.

    At a rate of 0.15 a text of three tokens has one hidden token in nine of twenty steps. Rounding up would always hide a
    third of it, rounding down nothing.

    Args:
        total: [B, 1] long.
        rate: in 0..1.
        generator: for the random draws; None: torch's global one.
    """
    chance = torch.randint(_UNIT, total.shape, generator=generator, device=total.device)
    return (total * round(rate * _UNIT) + chance) // _UNIT


def hide_tokens(maskable: Tensor, rate: float, generator: torch.Generator | None) -> TokenMask:
    """Hide single tokens, each with probability ``rate``; the number per text is fixed up to rounding.

    Args:
        maskable: [B, N] bool, the tokens that may be hidden.
        rate: share of these to hide.
        generator: for the random draws.

    Returns:
        A mask with M = ceil(N * rate) slots for hidden tokens.
    """
    score = torch.rand(maskable.shape, generator=generator, device=maskable.device)
    order = score.masked_fill(~maskable, math.inf).argsort(dim=1)
    counts = draw_counts(maskable.sum(dim=1, keepdim=True), rate, generator)
    return _split(order, counts, most_hidden(maskable.shape[1], rate))


def hide_words(maskable: Tensor, words: Tensor, rate: float, generator: torch.Generator | None) -> TokenMask:
    """Hide whole words, in random order, while they fit into ``rate`` of a text's tokens (randomly rounded).

    As in BERT's code a word that does not fit is skipped; a word longer than the whole budget is never hidden.

    Args:
        maskable: [B, N] bool, the tokens that may be hidden.
        words: [B, N] long, equal for the tokens of a word, different for neighbouring words.
        rate: share of the maskable tokens to hide.
        generator: for the random draws.

    Returns:
        A mask with M = ceil(N * rate) slots for hidden tokens.
    """
    B, N = maskable.shape
    begins = torch.ones_like(maskable)
    begins[:, 1:] = words[:, 1:] != words[:, :-1]
    number = begins.long().cumsum(dim=1) - 1
    sizes = torch.zeros(B, N, dtype=torch.long, device=words.device).scatter_add(1, number, maskable.long())
    score = torch.rand(B, N, generator=generator, device=words.device)
    order = score.masked_fill(sizes == 0, math.inf).argsort(dim=1)
    sizes = sizes.gather(1, order)
    left = draw_counts(maskable.sum(dim=1, keepdim=True), rate, generator)
    chosen = torch.zeros_like(maskable)
    for _ in range(_ROUNDS):
        fits = (sizes > 0) & (sizes <= left) & ~chosen
        taken = fits & ((sizes * fits).cumsum(dim=1) <= left)
        chosen = chosen | taken
        left = left - (sizes * taken).sum(dim=1, keepdim=True)
    hidden = torch.zeros_like(maskable).scatter(1, order, chosen).gather(1, number) & maskable
    order = (~hidden).byte().argsort(dim=1, stable=True)
    return _split(order, hidden.sum(dim=1, keepdim=True), most_hidden(N, rate))


def replace_ids(
    ids: Tensor,
    mask: TokenMask,
    *,
    mask_id: int,
    ordinary: Tensor,
    mask_share: float,
    random_share: float,
    generator: torch.Generator | None,
) -> Tensor:
    """[B, N] long, replace hidden tokens by the mask token, a random token or themselves (Devlin et al. 2018, section 3.1).

    Args:
        ids: [B, N] long.
        mask: the hidden tokens.
        mask_id: of the mask token.
        ordinary: [W] long, the ids that random tokens are drawn from, uniformly.
        mask_share: probability that a hidden token becomes the mask token; 0.8 in BERT.
        random_share: probability that it becomes a random one; 0.1 in BERT. Otherwise it stays.
        generator: for the random draws.
    """
    old = ids.gather(1, mask.hidden)
    chance = torch.rand(old.shape, generator=generator, device=ids.device)
    drawn = ordinary[torch.randint(len(ordinary), old.shape, generator=generator, device=ids.device)]
    new = torch.where(chance < mask_share + random_share, drawn, old)
    new = new.masked_fill(chance < mask_share, mask_id)
    return put(ids, mask, new)


def put(ids: Tensor, mask: TokenMask, new: Tensor) -> Tensor:
    """[B, N], ``ids`` with hidden tokens replaced by ``new`` ([B, M]); unused slots change nothing."""
    if mask.weight is not None:
        new = torch.where(mask.weight > 0, new, ids.gather(1, mask.hidden))
    return ids.scatter(1, mask.hidden, new)


def _split(order: Tensor, counts: Tensor, slots: int) -> TokenMask:
    """Hide the first ``counts`` ([B, 1]) tokens of ``order`` ([B, N]), with ``slots`` slots."""
    place = torch.arange(order.shape[1], device=order.device).unsqueeze(0)
    mask = torch.zeros_like(order, dtype=torch.bool).scatter(1, order, place < counts)
    keep = order.gather(1, counts + place[:, : order.shape[1] - slots])
    return TokenMask(keep=keep, hidden=order[:, :slots], mask=mask, weight=(place[:, :slots] < counts).float())
