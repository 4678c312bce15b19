"""Random spans of a text, and the two sequences that span corruption makes of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup_text.tasks.parts.token_masks import draw_counts, fewest_hidden, most_hidden


class Spans(NamedTuple):
    """Spans of a text's tokens. There are M slots for their tokens, in order; the first ``hidden`` are used."""

    mask: Tensor
    """[B, N] bool, True where a token lies in a span."""
    place: Tensor
    """[B, M] long, where each token of a span lies in the text; N in unused slots."""
    number: Tensor
    """[B, M] long, which span the token lies in, from 0 on."""
    hidden: Tensor
    """[B, 1] long, tokens in spans."""
    spans: Tensor
    """[B, 1] long, number of spans."""


def most_spans(n: int, rate: float, mean_span: float) -> int:
    """The most spans of a text of ``n`` tokens."""
    return max(round(most_hidden(n, rate) / mean_span), 1)


def draw_spans(real: Tensor, rate: float, mean_span: float, generator: torch.Generator | None) -> Spans:
    """Spans as T5 draws them (Raffel et al. 2019, arXiv 1910.10683, section 3.3.4, and its code).

    The corrupted tokens, ``rate`` of all (rounded up or down at random), are cut at random places into ``count / mean_span``
    spans, the others into as many stretches; they take turns, a stretch first.

    Args:
        real: [B, N] bool, the tokens that are not padding; they come first.
        rate: share of the tokens in spans.
        mean_span: tokens in a span, on average.
        generator: source of the draws.
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
    # Tokens outside of spans in stretches up to each span: what lies in front of that span's tokens beside spans.
    before = torch.zeros(B, N, dtype=torch.long, device=device).scatter_add(1, stretch, other.long()).cumsum(dim=1)
    slot = torch.arange(M, device=device).unsqueeze(0)
    place = torch.where(slot < count, slot + before.gather(1, number), N)
    mask = torch.zeros(B, N + 1, dtype=torch.bool, device=device).scatter(1, place, True)[:, :N]
    return Spans(mask, place, number, count, spans)


def _cut(total: Tensor, parts: Tensor, slots: int, generator: torch.Generator | None) -> Tensor:
    """Cut ``total`` ([B, 1]) things into ``parts`` ([B, 1]) pieces, none empty: the piece of each, [B, slots] long.

    Slots beyond ``total`` lie in the last piece.
    """
    place = torch.arange(slots, device=total.device).unsqueeze(0)
    score = torch.rand(total.shape[0], slots, generator=generator, device=total.device)
    # A cut may lie in front of any thing but the first.
    allowed = (place > 0) & (place < total)
    rank = score.masked_fill(~allowed, 2.0).argsort(dim=1).argsort(dim=1)
    return (allowed & (rank < parts - 1)).long().cumsum(dim=1)


class Shortened(NamedTuple):
    """A text in which one token stands for each span."""

    source: Tensor
    """[B, W] long, which tokens of the text are left; those that stand for spans are the spans' first."""
    valid: Tensor
    """[B, W] bool, False in unused places, which come last."""
    stands: Tensor
    """[B, W] bool, True where a token stands for a span."""
    number: Tensor
    """[B, W] long, for which span it stands."""


def shorten(spans: Spans, real: Tensor, rate: float, mean_span: float) -> Shortened:
    """Take all tokens of spans away but the first of each.

    Args:
        spans: from :func:`draw_spans`, with the same arguments.
        real: [B, N] bool.
        rate: share of the tokens in spans.
        mean_span: tokens in a span, on average.
    """
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
    """The spans one after the other, each behind a sentinel: what the decoder is given, and what it is to say."""

    given: Tensor
    """[B, L] long, ids; the end's where a sentinel or nothing stands."""
    sentinel: Tensor
    """[B, L] bool, True where a sentinel stands."""
    number: Tensor
    """[B, L] long, which sentinel."""
    target: Tensor
    """[B, L] long, the next id; at the last token of a span the end's."""
    valid: Tensor
    """[B, L] bool, False behind the last span."""


def answer(spans: Spans, ids: Tensor, end_id: int, slots: int) -> Answer:
    """The sequence that T5's decoder gives: sentinel, tokens of the first span, sentinel, tokens of the second, and so on.

    T5 predicts the next sentinel at a span's end; here all ends are one id, since sentinels are no words of the vocabulary.

    Args:
        spans: of the text.
        ids: [B, N] long, its tokens.
        end_id: what stands for the end of a span.
        slots: the most spans.
    """
    B, M = spans.place.shape
    L = M + slots
    device = ids.device
    token = torch.arange(M, device=device).unsqueeze(0)
    used = token < spans.hidden
    # A token has all tokens before it in front of it, and the sentinels of its own span and of those before.
    where = torch.where(used, token + spans.number + 1, L)
    words = ids.gather(1, spans.place.clamp(max=ids.shape[1] - 1))
    given = torch.full((B, L + 1), end_id, dtype=torch.long, device=device).scatter(1, where, words)[:, :L]
    is_word = torch.zeros(B, L + 1, dtype=torch.bool, device=device).scatter(1, where, True)[:, :L]
    before = torch.where(used, where - 1, L)
    target = torch.full((B, L + 1), end_id, dtype=torch.long, device=device).scatter(1, before, words)[:, :L]
    valid = torch.arange(L, device=device).unsqueeze(0) < spans.hidden + spans.spans
    sentinel = valid & ~is_word
    return Answer(given, sentinel, (sentinel.long().cumsum(dim=1) - 1).clamp(min=0), target, valid)
