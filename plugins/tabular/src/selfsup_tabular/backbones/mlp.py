"""The MLP backbone on all cells of a row."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from selfsup.backbones import Backbone, BackboneRecipe, Encoded
from selfsup.types import Batch, Info
from selfsup_tabular.backbones.inputs import RowInput, RowInputConfig


class MLPConfig(RowInputConfig):
    """Options of ``mlp``; the defaults are those of SCARF's encoder (Bahri et al. 2021, arXiv:2106.15147, section 4)."""

    dim: int = Field(default=256, ge=1)
    """Width of every layer, and D; 256 in SCARF."""
    depth: int = Field(default=4, ge=1)
    """Layers, each with ReLU; 4 in SCARF."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Normalisation before each ReLU; none in SCARF."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate after each ReLU; 0 in SCARF."""


class MLPBackbone(Backbone):
    """Linear layers with ReLU; the embedding is the output of the last one."""

    modality: ClassVar[str] = "tabular"

    def __init__(self, config: MLPConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.dim
        self.input = RowInput(config, info)
        layers: list[nn.Module] = []
        for depth in range(config.depth):
            layers.append(nn.Linear(config.dim if depth else self.input.dim, config.dim))
            if config.norm != "none":
                layers.append(nn.BatchNorm1d(config.dim) if config.norm == "batch" else nn.LayerNorm(config.dim))
            layers.append(nn.ReLU())
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
        self.layers = nn.Sequential(*layers)

    def forward(self, batch: Batch) -> Encoded:
        """[B, dim]; there are no tokens."""
        return Encoded(self.layers(self.input(batch)))


MLP = BackboneRecipe(MLPConfig, MLPBackbone)
