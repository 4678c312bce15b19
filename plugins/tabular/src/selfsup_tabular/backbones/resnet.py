"""The ResNet backbone for tables (Gorishniy et al. 2021, arXiv:2106.11959, section 3.2)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone, BackboneRecipe, Encoded
from selfsup.types import Batch, Info
from selfsup_tabular.backbones.inputs import RowInput, RowInputConfig


class TabularResNetConfig(RowInputConfig):
    """Options of ``tabular-resnet``; the paper tunes them for each table."""

    dim: int = Field(default=192, ge=1)
    """Width of the residual stream, and D; 64 to 512 in the paper."""
    depth: int = Field(default=4, ge=1)
    """Residual blocks; 1 to 8 in the paper."""
    expansion: float = Field(default=2.0, gt=0)
    """Width of a block's hidden layer as a multiple of ``dim``; 1 to 4 in the paper."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate of hidden units; 0 to 0.5 in the paper."""


class _Block(nn.Module):
    """x + Linear(Dropout(ReLU(Linear(BatchNorm(x)))))."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm1d(dim), nn.Linear(dim, hidden), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, dim] to the same."""
        out: Tensor = x + self.layers(x)
        return out


class TabularResNetBackbone(Backbone):
    """A linear layer, residual blocks, batch norm and ReLU; the paper's last linear layer is left to heads."""

    modality: ClassVar[str] = "tabular"

    def __init__(self, config: TabularResNetConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.dim
        self.input = RowInput(config, info)
        hidden = max(round(config.dim * config.expansion), 1)
        blocks = [_Block(config.dim, hidden, config.dropout) for _ in range(config.depth)]
        last = [nn.BatchNorm1d(config.dim), nn.ReLU()]
        self.layers = nn.Sequential(nn.Linear(self.input.dim, config.dim), *blocks, *last)

    def forward(self, batch: Batch) -> Encoded:
        """[B, dim]; there are no tokens."""
        return Encoded(self.layers(self.input(batch)))


RESNET = BackboneRecipe(TabularResNetConfig, TabularResNetBackbone)
