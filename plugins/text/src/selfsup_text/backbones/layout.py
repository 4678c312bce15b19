"""The special tokens around the content: put in before the network, taken out behind it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup.tasks import gather_tokens


@dataclass(frozen=True)
class Framed:
    """A sequence as the network sees it: class token (if it has one), content, separator."""

    embeddings: Tensor
    """[B, L, D] with L = K + 2, or K + 1 without a class token."""
    padding: Tensor
    """[B, L] bool, True where there is nothing."""
    places: Tensor | None
    """[B, L] long, where each token stands in its text (the first at 0); None: at its index."""


def frame(content: Tensor, padding: Tensor, special: Tensor, keep: Tensor | None = None, *, begins: bool = True) -> Framed:
    """Put the class token in front of the content and the separator right behind its last token.

    Args:
        content: [B, N, D], padding at the end of each sample.
        padding: [B, N] bool.
        special: [B, 2, D], the embeddings of the class token and of the separator.
        keep: [B, K] long, the only content that is seen, in this order; None: all of it. The separator then stands in the last
            column, and its place is still the one behind the whole text.
        begins: False leaves the class token out.
    """
    first = int(begins)
    begin, end = special[:, :first], special[:, 1:]
    length = (~padding).sum(dim=1, keepdim=True)
    if keep is not None:
        body = torch.cat([begin, gather_tokens(content, keep), end], dim=1)
        ends = torch.zeros_like(length, dtype=torch.bool)
        hidden = torch.cat([ends[:, :first], padding.gather(1, keep), ends], dim=1)
        places = torch.cat([torch.zeros_like(length)[:, :first], keep + first, length + first], dim=1)
        return Framed(body, hidden, places)
    # The last column only makes room: where the text fills it, the separator goes there.
    body = torch.cat([begin, content, end], dim=1)
    index = torch.arange(body.shape[1], device=body.device).unsqueeze(0)
    body = torch.where((index == length + first).unsqueeze(-1), end, body)
    return Framed(body, index > length + first, None)


def content_of(sequence: Tensor, *, begins: bool = True) -> Tensor:
    """[B, K, D], the content of a framed sequence [B, L, D]; of a shorter text the separator stands where padding was."""
    return sequence[:, int(begins) : -1]
