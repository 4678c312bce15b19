"""Losses over the rows that have all that is compared: what masks them, means over them, and who is whose negative.

``valid`` is [B] bool, True for rows that count, and None where all do: then every function here does what it would without it,
in the same operations. Shapes never depend on what is valid, and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.objectives.base import ViewEmbeddings
from selfsup.objectives.parts.chance import chance_loss
from selfsup.runtime.distributed import gather, mean_over_ranks, rank, sum_over_ranks, world_size


def in_both_views(embeddings: ViewEmbeddings) -> Tensor | None:
    """[B] bool, the rows that have the first two views; None where all do."""
    if embeddings.valid is None:
        return None
    first, second = embeddings.valid[:2]
    return first & second


def pairs_there(valid: Sequence[Tensor], n_global: int) -> Tensor:
    """[V, B] long, with how many of the other global views each view of a sample makes a pair: 0 where it is not there.

    Args:
        valid: per view [B] bool, the global ones first.
        n_global: number of global views.
    """
    there = torch.stack(list(valid)).long()
    others = there[:n_global].sum(dim=0) - torch.cat([there[:n_global], torch.zeros_like(there[n_global:])])
    return there * others


def only_valid(x: Tensor, valid: Tensor | None) -> Tensor:
    """``x`` ([B, ...]) with zeros in the rows that do not count: nothing of them goes on, and no gradient comes back."""
    if valid is None:
        return x
    return torch.where(valid.view(-1, *[1] * (x.ndim - 1)), x, x.new_zeros(()))


def counted(valid: Tensor | None, like: Tensor) -> Tensor | None:
    """Scalar of the type of ``like``, how many rows of this device count (``LossOutput.weight``); None where all do."""
    return None if valid is None else valid.sum().to(like.dtype)


def counted_everywhere(valid: Tensor, like: Tensor) -> Tensor:
    """Scalar of the type of ``like``, how many rows of all devices count."""
    return sum_over_ranks(valid.sum().to(like.dtype))


def zero_if_none(loss: Tensor, count: Tensor) -> Tensor:
    """``loss`` where any row counts; else 0, from which no gradient comes."""
    return torch.where(count > 0, loss, torch.zeros_like(loss))


def valid_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Scalar, the mean of ``x`` ([B]) over the rows of this device that count; 0 where none does."""
    if valid is None:
        return x.mean()
    return only_valid(x, valid).sum() / valid.sum().clamp_min(1)


@torch.no_grad()
def mean_cosine(a: Tensor, b: Tensor, valid: Tensor | None) -> Tensor:
    """Scalar, the mean cosine of the rows of ``a`` and ``b`` ([B, P]) that count, for the log."""
    return valid_mean(F.cosine_similarity(a, b), valid)


def global_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """[...], the mean of ``x`` ([B, ...]) over the rows of all devices that count, with gradient; 0 where none does."""
    if valid is None:
        return mean_over_ranks(x.mean(dim=0))
    total = counted_everywhere(valid, x).clamp_min(1)
    return mean_over_ranks(only_valid(x, valid).sum(dim=0)) * (world_size() / total)


def own_columns(rows: int, device: torch.device) -> Tensor:
    """[B] long, where the rows of this device stand in the global batch."""
    return torch.arange(rows, device=device) + rank() * rows


def duplicates(groups: Tensor) -> Tensor:
    """[B, N] bool, which rows of the global batch show the same as each row of this device; a row is no duplicate of itself.

    Args:
        groups: [B, V] long, as ``ViewEmbeddings.groups``.
    """
    everywhere = gather(groups)
    itself = own_columns(len(groups), groups.device)[:, None] == torch.arange(len(everywhere), device=groups.device)
    return same_content(groups, everywhere) & ~itself


def same_content(groups: Tensor, others: Tensor) -> Tensor:
    """[B, C] bool, which of other rows show the same as each row in any view; both as ``ViewEmbeddings.groups``."""
    same = groups.new_zeros((len(groups), len(others)), dtype=torch.bool)
    for own, other in zip(groups.unbind(dim=1), others.unbind(dim=1), strict=True):
        same = same | ((own[:, None] == other) & (own[:, None] != -1))
    return same


def not_compared(valid: Tensor | None, groups: Tensor | None) -> Tensor | None:
    """[B, N] bool, which rows of the global batch are no negatives of each row of this device; None where all others are.

    These are the rows that do not count, and duplicates.
    """
    left_out = None if groups is None else duplicates(groups)
    if valid is not None:
        # As numbers, since not every backend gathers truth values.
        absent = gather((~valid).to(torch.uint8)).bool().expand(len(valid), -1)
        left_out = absent if left_out is None else left_out | absent
    return left_out


def contrast(logits: Tensor, own: Tensor, left_out: Tensor | None, valid: Tensor | None) -> Tensor:
    """Cross-entropy of finding each row's own candidate, the mean over the rows that count.

    Args:
        logits: [B, N]; candidates that must not count hold -inf already, or are in ``left_out``.
        own: [B] long, the column of each row's own candidate.
        left_out: [B, N] bool, candidates that do not count; None: all do.
        valid: [B] bool.
    """
    if left_out is not None:
        logits = logits.masked_fill(left_out, float("-inf"))
    if valid is None:
        return F.cross_entropy(logits, own)
    # Rows that do not count have no candidate at all; any finite numbers keep their gradient from being NaN.
    rows = F.cross_entropy(torch.where(valid[:, None], logits, logits.new_zeros(())), own, reduction="none")
    return valid_mean(rows, valid)


@torch.no_grad()
def contrast_accuracy(logits: Tensor, own: Tensor, left_out: Tensor | None, valid: Tensor | None) -> Tensor:
    """Scalar, the share of rows whose own candidate scores highest; arguments as for :func:`contrast`."""
    if left_out is not None:
        logits = logits.masked_fill(left_out, float("-inf"))
    return valid_mean((logits.argmax(dim=1) == own).float(), valid)


def contrast_chance(candidates: int, left_out: Tensor | None, valid: Tensor | None, like: Tensor) -> Tensor:
    """Scalar, what :func:`contrast` comes to where all of a row's candidates look alike (the metric ``chance_loss``).

    Args:
        candidates: of a row, those that are left out among them.
        left_out: [B, N] bool, as for :func:`contrast`.
        valid: [B] bool.
        like: the loss.
    """
    if left_out is None:
        return chance_loss(candidates, like)
    found = (candidates - left_out.sum(dim=1)).clamp_min(1)
    return valid_mean(chance_loss(found, like), valid)
