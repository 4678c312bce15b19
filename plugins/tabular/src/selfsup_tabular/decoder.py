"""A decoder from the embedding of a row to all of its cells."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from selfsup.backbones import Encoded


class CellDecoder(nn.Module):
    """An MLP from the pooled embedding to a prediction of all cells in the format of :class:`.layout.CellLayout`.

    Args:
        embed_dim: D of the pooled embedding.
        width: of the prediction.
        hidden: width of the hidden layers.
        depth: number of hidden layers; 0: linear.
    """

    def __init__(self, embed_dim: int, width: int, hidden: int, depth: int) -> None:
        super().__init__()
        sizes = [embed_dim, *[hidden] * depth]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], width))

    def forward(self, encoded: Encoded) -> Tensor:
        """[B, width]."""
        out: Tensor = self.layers(encoded.pooled)
        return out
