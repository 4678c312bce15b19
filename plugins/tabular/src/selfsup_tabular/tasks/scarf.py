"""SCARF: contrast a row and a corrupted copy of it with other rows."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from selfsup.objectives import ObjectiveRecipe, SimCLR, SimCLRConfig, mlp


class SCARFConfig(SimCLRConfig):
    """The loss of SCARF (Bahri et al. 2021, arXiv:2106.15147)."""

    temperature: float = Field(default=1.0, gt=0)
    """Divides the cosines (paper: 1)."""
    hidden_dim: int = Field(default=256, ge=1)
    """Width of the projector's hidden layer (paper: 256)."""
    output_dim: int = Field(default=256, ge=1)
    """Width of the projection (paper: 256)."""


class SCARFObjective(SimCLR):
    """NT-Xent after SCARF's projector of two layers without batch norm.

    In the paper only the corrupted rows of the batch are negatives (section 3, algorithm 1); in NT-Xent both views of all other
    rows are.
    """

    Config = SCARFConfig

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim], norm=False)


SCARF_OBJECTIVE = ObjectiveRecipe(
    config=SCARFConfig,
    build=SCARFObjective,
    optimization={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "batch_size": 128},
)
"""The paper's optimizer: Adam (1e-3) at a batch of 128."""
