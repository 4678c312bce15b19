"""Which tokens of a text are kept, and the text that is left."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup.types import Batch


def window_mask(padding: Tensor, share: tuple[float, float], generator: torch.Generator | None) -> Tensor:
    """[B, N] bool, a random stretch of each sample.

    Args:
        padding: [B, N] bool, at the end of each sample.
        share: smallest and largest length of the stretch, as a share of the sample; a sample draws its own, and at least one
            token.
        generator: of the draws.
    """
    B, N = padding.shape
    draw = torch.rand(B, 2, generator=generator, device=padding.device)
    length = (~padding).sum(dim=1)
    # In float32 on any device, so that the whole share of a sample is the whole sample.
    part = share[0] + (share[1] - share[0]) * draw[:, 0]
    width = torch.minimum((length * part).ceil().long().clamp(min=1), length)
    start = torch.minimum((draw[:, 1] * (length - width + 1)).long(), length - width)
    place = torch.arange(N, device=padding.device).unsqueeze(0)
    return (place >= start.unsqueeze(1)) & (place < (start + width).unsqueeze(1))


def thin_out(kept: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """[B, N] bool, ``kept`` without a random share ``rate`` of it; at least one token of each sample stays.

    Args:
        kept: [B, N] bool, with one token or more of each sample.
        rate: each token goes with this probability.
        generator: of the draws.
    """
    score = torch.rand(kept.shape, generator=generator, device=kept.device)
    # The token that stays in any case is the last one to go.
    last = score.masked_fill(~kept, -1.0).argmax(dim=1, keepdim=True)
    stays = kept & (score >= rate)
    return stays.scatter(1, last, kept.gather(1, last))


def compact(batch: Batch, kept: Tensor, width: int, pad_id: int) -> Batch:
    """The kept tokens of each sample, next to each other and in their order.

    Args:
        batch: ``ids``, ``padding``, ``words``.
        kept: [B, N] bool.
        width: tokens of the result, [B, width]; more than that are cut off.
        pad_id: what the rest is filled with.
    """
    order = torch.argsort(~kept, dim=1, stable=True)[:, :width]
    length = kept.sum(dim=1, keepdim=True)
    padding = torch.arange(order.shape[1], device=kept.device).unsqueeze(0) >= length
    return {
        "ids": batch["ids"].gather(1, order).masked_fill(padding, pad_id),
        "padding": padding,
        "words": batch["words"].gather(1, order).masked_fill(padding, -1),
    }
