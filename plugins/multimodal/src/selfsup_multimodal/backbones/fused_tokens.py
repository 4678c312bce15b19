"""The tokens of all parts of a row on one axis, and their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selfsup.backbones import Encoded, Tokens, mean_over_tokens

NUMBERS = 2
"""Leading numbers of each target: the number of the token's part, and the token's index in it."""


@dataclass(frozen=True, kw_only=True)
class FusedTokens(Tokens):
    """The tokens of all parts, one part after the other."""

    spans: Mapping[str, tuple[int, int]]
    """By part: where its tokens begin and end."""
    grids: Mapping[str, tuple[int, ...]]
    """By part: the lattice of its own tokens."""


def part_padding(tokens: Tokens, present: Tensor | None) -> Tensor:
    """[B, N] bool, the padding of a part's tokens; all of them in rows that lack the part (``present`` [B] is False)."""
    padding = tokens.padding
    if padding is None:
        padding = torch.zeros(tokens.embeddings.shape[:2], dtype=torch.bool, device=tokens.embeddings.device)
    return padding if present is None else padding | ~present.unsqueeze(1)


def pooled_part(encoded: Tensor, tokens: FusedTokens, name: str, present: Tensor | None) -> Encoded:
    """A part's tokens among encoded ones ([B, N, D]), and their mean.

    Args:
        encoded: the output for ``tokens``.
        tokens: of all parts.
        name: of the part.
        present: [B] bool, which rows have it; None: all.
    """
    begin, end = tokens.spans[name]
    own = encoded[:, begin:end]
    padding = None if tokens.padding is None else tokens.padding[:, begin:end]
    return Encoded(mean_over_tokens(own, padding), own, tokens.grids[name], padding, None, present)


def numbered_targets(targets: Mapping[int, Tensor], dtype: torch.dtype) -> Tensor:
    """[B, N1 + N2 + ..., 2 + P], the targets of all parts on one axis.

    Each is preceded by the number of its part and its index in it, and filled up with zeros to the widest part's P numbers.

    Args:
        targets: by the number of a part, [B, Ni, Pi].
        dtype: of the result.
    """
    widest = max(value.shape[2] for value in targets.values())
    rows = []
    for number, value in targets.items():
        B, N, P = value.shape
        index = torch.arange(N, device=value.device, dtype=dtype)
        leading = torch.stack([torch.full_like(index, number), index], dim=1).expand(B, -1, -1)
        rows.append(torch.cat([leading, value.to(dtype), value.new_zeros(B, N, widest - P, dtype=dtype)], dim=2))
    return torch.cat(rows, dim=1)


class ConcatenatedHeads(nn.ModuleDict):
    """One head per part, their outputs concatenated."""

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., dim] to [..., the sum of the heads' widths]."""
        return torch.cat([head(hidden) for head in self.values()], dim=-1)
