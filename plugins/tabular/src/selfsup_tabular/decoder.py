"""From an embedding of a row back to all its cells."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from selfsup.backbones import Encoded


class CellDecoder(nn.Module):
    """A perceptron from the pooled embedding to a prediction of all cells, as :class:`.layout.CellLayout` reads it.

    Args:
        embed_dim: D of the pooled embedding.
        width: numbers of a prediction.
        hidden: width of the hidden layers.
        depth: number of hidden layers; 0: one linear layer.
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
