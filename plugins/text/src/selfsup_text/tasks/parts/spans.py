"""Random spans of a text, and the two sequences of span corruption: the shortened text and the decoder's target."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup_text.tasks.parts.token_masks import draw_counts, fewest_hidden, most_hidden


class Spans(NamedTuple):
    """Spans of a text. There are M slots for their tokens, in order; the first ``hidden`` are used."""

    mask: Tensor
    """[B, N] bool, True for tokens in spans."""
    place: Tensor
    """[B, M] long, the index of each span token in the text; N in unused slots."""
    number: Tensor
    """[B, M] long, the number of its span, from 0."""
    hidden: Tensor
    """[B, 1] long, number of tokens in spans."""
    spans: Tensor
    """[B, 1] long, number of spans."""


def most_spans(n: int, rate: float, mean_span: float) -> int:
    """The largest number of spans of a text of ``n`` tokens."""
    return max(round(most_hidden(n, rate) / mean_span), 1)


def draw_spans(real: Tensor, rate: float, mean_span: float, generator: torch.Generator | None) -> Spans:
    """Draw spans as T5 does (Raffel et al. 2019, arXiv 1910.10683, section 3.3.4, and its code).

    The corrupted tokens, ``rate`` of all (randomly rounded), are cut at random into ``count / mean_span`` spans, the others
    into as many gaps; gaps and spans alternate, starting with a gap.

    Args:
        real: [B, N] bool, the tokens that are not padding; they come first.
        rate: share of the tokens in spans.
        mean_span: mean tokens per span.
        generator: for the random draws.
    """
    B, N = real.shape
    device = real.device
    total = real.sum(dim=1, keepdim=True)
    count = torch.minimum(draw_counts(total, rate, generator).clamp(min=1), total - 1).clamp(min=0)
    spans = (count / mean_span).round().long().clamp(min=1)
    spans = torch.minimum(spans, torch.minimum(count, total - count))
    M = max(most_hidden(N, rate), 1)
    number = _cut(count, spans, M, generator)
    stretch = _cut(total - count, spans, N, generator)
    other = torch.arange(N, device=device).unsqueeze(0) < total - count
    # The number of tokens in the gaps before each span.
    before = torch.zeros(B, N, dtype=torch.long, device=device).scatter_add(1, stretch, other.long()).cumsum(dim=1)
    slot = torch.arange(M, device=device).unsqueeze(0)
    place = torch.where(slot < count, slot + before.gather(1, number), N)
    mask = torch.zeros(B, N + 1, dtype=torch.bool, device=device).scatter(1, place, True)[:, :N]
    return Spans(mask, place, number, count, spans)


def _cut(total: Tensor, parts: Tensor, slots: int, generator: torch.Generator | None) -> Tensor:
    """[B, slots] long: cut ``total`` ([B, 1]) items into ``parts`` ([B, 1]) non-empty pieces; returns the piece of each item.

    Slots beyond ``total`` belong to the last piece.
    """
    place = torch.arange(slots, device=total.device).unsqueeze(0)
    score = torch.rand(total.shape[0], slots, generator=generator, device=total.device)
    # A cut can be before any item except the first.
    allowed = (place > 0) & (place < total)
    rank = score.masked_fill(~allowed, 2.0).argsort(dim=1).argsort(dim=1)
    return (allowed & (rank < parts - 1)).long().cumsum(dim=1)


class Shortened(NamedTuple):
    """A text in which one token represents each span."""

    source: Tensor
    """[B, W] long, the remaining tokens of the text; the first token of a span represents it."""
    valid: Tensor
    """[B, W] bool, False in unused slots, which come last."""
    stands: Tensor
    """[B, W] bool, True for tokens that represent a span."""
    number: Tensor
    """[B, W] long, the number of that span."""


def shorten(spans: Spans, real: Tensor, rate: float, mean_span: float) -> Shortened:
    """Remove all tokens of spans except the first of each; the arguments are those of :func:`draw_spans`."""
    N = real.shape[1]
    W = min(N - fewest_hidden(N, rate) + most_spans(N, rate, mean_span), N)
    first = spans.mask.clone()
    first[:, 1:] &= ~spans.mask[:, :-1]
    left = (real & ~spans.mask) | first
    index = (~left).byte().argsort(dim=1, stable=True)[:, :W]
    valid = torch.arange(W, device=real.device).unsqueeze(0) < left.sum(dim=1, keepdim=True)
    number = (first.long().cumsum(dim=1) - 1).clamp(min=0)
    return Shortened(index, valid, first.gather(1, index) & valid, number.gather(1, index))


class Answer(NamedTuple):
    """The spans in sequence, each after a sentinel: the decoder's input and target."""

    given: Tensor
    """[B, L] long, ids; the end's id at sentinels and unused positions."""
    sentinel: Tensor
    """[B, L] bool, True for sentinels."""
    number: Tensor
    """[B, L] long, the number of the sentinel."""
    target: Tensor
    """[B, L] long, the next id; after the last token of a span the end's id."""
    valid: Tensor
    """[B, L] bool, False after the last span."""


def answer(spans: Spans, ids: Tensor, end_id: int, slots: int) -> Answer:
    """The sequence of T5's decoder: sentinel, tokens of the first span, sentinel, tokens of the second, and so on.

    T5 predicts the next sentinel at the end of a span; here all spans end with one id, because sentinels are not words.

    Args:
        spans: of the text.
        ids: [B, N] long, its tokens.
        end_id: marks the end of a span.
        slots: the largest number of spans.
    """
    B, M = spans.place.shape
    L = M + slots
    device = ids.device
    token = torch.arange(M, device=device).unsqueeze(0)
    used = token < spans.hidden
    # Before each token are all earlier tokens, and the sentinels of its own and of earlier spans.
    where = torch.where(used, token + spans.number + 1, L)
    words = ids.gather(1, spans.place.clamp(max=ids.shape[1] - 1))
    given = torch.full((B, L + 1), end_id, dtype=torch.long, device=device).scatter(1, where, words)[:, :L]
    is_word = torch.zeros(B, L + 1, dtype=torch.bool, device=device).scatter(1, where, True)[:, :L]
    before = torch.where(used, where - 1, L)
    target = torch.full((B, L + 1), end_id, dtype=torch.long, device=device).scatter(1, before, words)[:, :L]
    valid = torch.arange(L, device=device).unsqueeze(0) < spans.hidden + spans.spans
    sentinel = valid & ~is_word
    return Answer(given, sentinel, (sentinel.long().cumsum(dim=1) - 1).clamp(min=0), target, valid)
