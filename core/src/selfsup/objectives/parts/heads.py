"""Projectors and predictors: thrown away after pretraining."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F


def mlp(
    dims: Sequence[int],
    *,
    norm: bool = True,
    last_norm: Literal["none", "plain", "affine"] = "none",
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A multi-layer perceptron, [B, dims[0]] to [B, dims[-1]].

    Args:
        dims: widths, of the input first.
        norm: batch norm (and no bias) in every layer but the last.
        last_norm: batch norm after the last layer: none, without or with learned scale and shift.
        activation: made anew for every layer but the last.
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(dims[:-1]):
        layers.append(nn.Linear(n_in, n_out, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(activation())
    layers.append(nn.Linear(dims[-2], dims[-1], bias=last_norm == "none"))
    if last_norm != "none":
        layers.append(nn.BatchNorm1d(dims[-1], affine=last_norm == "affine"))
    return nn.Sequential(*layers)


class TokenHead(nn.Module):
    """Applies a head for embeddings to each token: [B, N, D] to [B, N, P]. Batch norm counts every token as a sample."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens."""
        projected: Tensor = self.head(tokens.flatten(0, 1))
        return projected.view(*tokens.shape[:2], -1)


class CosineLinear(nn.Linear):
    """Cosine of the input with each of the weight's rows, [B, D] to [B, K]; no bias."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Compare with every row."""
        return F.linear(F.normalize(input, dim=-1), F.normalize(self.weight, dim=-1))
