"""Turns a row into one input vector, for networks that take all cells at once."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.config import Config, idle
from selfsup.types import Batch, Info


class RowInputConfig(Config):
    """Options of the input vector."""

    categories: Literal["one-hot", "embedding"] = "one-hot"
    """Encode categories as one-hot vectors (as in SCARF and VIME) or as learned vectors."""
    category_dim: int | None = Field(default=None, ge=1)
    """Width of the learned vectors; None: the smaller of 32 and half the number of codes, rounded up."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("backbone.categories is one-hot", self.categories == "one-hot", "category_dim")


class RowInput(nn.Module):
    """Concatenates numbers, flags of missing numbers, and categories."""

    offsets: Tensor

    def __init__(self, config: RowInputConfig, info: Info) -> None:
        super().__init__()
        cardinalities = [int(count) for count in info["cardinalities"]]
        n_numeric = len(info["numeric_columns"])
        self.codes = sum(cardinalities)
        self.embeddings: nn.ModuleList | None = None
        if config.categories == "embedding":
            dims = [config.category_dim or min(32, -(-count // 2)) for count in cardinalities]
            self.embeddings = nn.ModuleList(nn.Embedding(count, dim) for count, dim in zip(cardinalities, dims, strict=True))
            self.dim = 2 * n_numeric + sum(dims)
        else:
            self.dim = 2 * n_numeric + self.codes
        starts = torch.tensor([sum(cardinalities[:place]) for place in range(len(cardinalities))], dtype=torch.long)
        self.register_buffer("offsets", starts, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """[B, dim] float."""
        numeric, category = batch["numeric"], batch["category"]
        parts = [numeric, batch["missing"].to(numeric.dtype)]
        if self.embeddings is not None:
            parts += [embedding(category[:, place]) for place, embedding in enumerate(self.embeddings)]
        else:
            blank = torch.zeros(category.shape[0], self.codes, dtype=numeric.dtype, device=numeric.device)
            parts.append(blank.scatter(1, category + self.offsets, 1.0))
        return torch.cat(parts, dim=1)
