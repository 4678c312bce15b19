"""Adds the special tokens around the content before the network, and removes them after it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.tasks import gather_tokens

_CLASS, _SEPARATOR = -1, -2
"""Documents of the class token and the separator around a block of documents."""


@dataclass(frozen=True)
class Framed:
    """A sequence as the network sees it: class token (if any), content, separator."""

    embeddings: Tensor
    """[B, L, D] with L = K + 2, or K + 1 without a class token."""
    padding: Tensor
    """[B, L] bool, True for padding."""
    places: Tensor | None
    """[B, L] long, the position of each token in its text (from 0); None: its index."""
    documents: Tensor | None = None
    """[B, L] long, the document of each token, class token and separator being documents of their own; None: all are one."""


def frame(
    content: Tensor,
    padding: Tensor,
    special: Tensor,
    keep: Tensor | None = None,
    *,
    begins: bool = True,
    documents: Tensor | None = None,
) -> Framed:
    """Put the class token before the content and the separator right after its last token.

    Args:
        content: [B, N, D], padding at the end of each sample.
        padding: [B, N] bool.
        special: [B, 2, D], the embeddings of class token and separator.
        keep: [B, K] long, the tokens to use, in this order; None: all. The separator is then in the last column, with the
            position after the whole text.
        begins: False leaves the class token out.
        documents: [B, N] long, the document that a token belongs to; positions then begin anew in each. None: all are one.
    """
    first = int(begins)
    begin, end = special[:, :first], special[:, 1:]
    length = (~padding).sum(dim=1, keepdim=True)
    if keep is not None:
        body = torch.cat([begin, gather_tokens(content, keep), end], dim=1)
        ends = torch.zeros_like(length, dtype=torch.bool)
        hidden = torch.cat([ends[:, :first], padding.gather(1, keep), ends], dim=1)
        places = torch.cat([torch.zeros_like(length)[:, :first], keep + first, length + first], dim=1)
        if documents is None:
            return Framed(body, hidden, places)
        outside = torch.zeros_like(length)
        starts = torch.cat([outside[:, :first], document_places(documents).gather(1, keep), outside], dim=1)
        kept = torch.cat([(outside + _CLASS)[:, :first], documents.gather(1, keep), outside + _SEPARATOR], dim=1)
        return Framed(body, hidden, starts, kept)
    # The last column makes room for the separator of full-length texts.
    body = torch.cat([begin, content, end], dim=1)
    index = torch.arange(body.shape[1], device=body.device).unsqueeze(0)
    body = torch.where((index == length + first).unsqueeze(-1), end, body)
    if documents is None:
        return Framed(body, index > length + first, None)
    outside = torch.zeros_like(length)
    owners = torch.cat([(outside + _CLASS)[:, :first], documents, outside + _SEPARATOR], dim=1)
    owners = owners.masked_fill(index >= length + first, _SEPARATOR)
    return Framed(body, index > length + first, document_places(owners), owners)


def document_places(documents: Tensor) -> Tensor:
    """[B, N] long, the position of each token in its document, from 0, by the documents of all tokens ([B, N] long)."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return index - torch.where(begins, index, 0).cummax(dim=1).values


def content_of(sequence: Tensor, *, begins: bool = True) -> Tensor:
    """[B, K, D], the content of a framed sequence [B, L, D]; for shorter texts the separator is at the first padding."""
    return sequence[:, int(begins) : -1]
