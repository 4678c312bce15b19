"""Select tokens of texts, and build batches of the selected tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup.types import Batch
from selfsup_text.config import DOCUMENTS


def window_mask(padding: Tensor, share: tuple[float, float], generator: torch.Generator | None) -> Tensor:
    """[B, N] bool, a random contiguous window of each sample.

    Args:
        padding: [B, N] bool, at the end of each sample.
        share: least and largest length, as a share of the sample; drawn per sample, at least one token.
        generator: for the random draws.
    """
    B, N = padding.shape
    draw = torch.rand(B, 2, generator=generator, device=padding.device)
    length = (~padding).sum(dim=1)
    # Float32 on any device, so that a share of 1 gives the whole sample.
    part = share[0] + (share[1] - share[0]) * draw[:, 0]
    width = torch.minimum((length * part).ceil().long().clamp(min=1), length)
    start = torch.minimum((draw[:, 1] * (length - width + 1)).long(), length - width)
    place = torch.arange(N, device=padding.device).unsqueeze(0)
    return (place >= start.unsqueeze(1)) & (place < (start + width).unsqueeze(1))


def thin_out(kept: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """[B, N] bool, drop each token of ``kept`` ([B, N] bool) with probability ``rate``, but keep at least one per sample."""
    score = torch.rand(kept.shape, generator=generator, device=kept.device)
    # The token with the highest score always stays.
    last = score.masked_fill(~kept, -1.0).argmax(dim=1, keepdim=True)
    stays = kept & (score >= rate)
    return stays.scatter(1, last, kept.gather(1, last))


def compact(batch: Batch, kept: Tensor, width: int, pad_id: int) -> Batch:
    """The kept tokens of each sample, moved together in order.

    Args:
        batch: ``ids``, ``padding``, ``words``, and perhaps ``documents``.
        kept: [B, N] bool.
        width: of the result, [B, width]; further tokens are cut.
        pad_id: fills the rest.
    """
    order = torch.argsort(~kept, dim=1, stable=True)[:, :width]
    length = kept.sum(dim=1, keepdim=True)
    padding = torch.arange(order.shape[1], device=kept.device).unsqueeze(0) >= length
    return {
        "ids": batch["ids"].gather(1, order).masked_fill(padding, pad_id),
        "padding": padding,
        "words": batch["words"].gather(1, order).masked_fill(padding, -1),
        **({DOCUMENTS: batch[DOCUMENTS].gather(1, order)} if DOCUMENTS in batch else {}),
    }
