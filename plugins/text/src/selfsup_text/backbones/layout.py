"""Adds the special tokens around the content before the network, and removes them after it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup.tasks import gather_tokens


@dataclass(frozen=True)
class Framed:
    """A sequence as the network sees it: class token (if any), content, separator."""

    embeddings: Tensor
    """[B, L, D] with L = K + 2, or K + 1 without a class token."""
    padding: Tensor
    """[B, L] bool, True for padding."""
    places: Tensor | None
    """[B, L] long, the position of each token in its text (from 0); None: its index."""


def frame(content: Tensor, padding: Tensor, special: Tensor, keep: Tensor | None = None, *, begins: bool = True) -> Framed:
    """Put the class token before the content and the separator right after its last token.

    Args:
        content: [B, N, D], padding at the end of each sample.
        padding: [B, N] bool.
        special: [B, 2, D], the embeddings of class token and separator.
        keep: [B, K] long, the tokens to use, in this order; None: all. The separator is then in the last column, with the
            position after the whole text.
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
    # The last column makes room for the separator of full-length texts.
    body = torch.cat([begin, content, end], dim=1)
    index = torch.arange(body.shape[1], device=body.device).unsqueeze(0)
    body = torch.where((index == length + first).unsqueeze(-1), end, body)
    return Framed(body, index > length + first, None)


def content_of(sequence: Tensor, *, begins: bool = True) -> Tensor:
    """[B, K, D], the content of a framed sequence [B, L, D]; for shorter texts the separator is at the first padding."""
    return sequence[:, int(begins) : -1]
