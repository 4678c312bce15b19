"""Hides cells as missing values, which every backbone supports."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsup.types import Batch
from selfsup_tabular.columns.plan import MISSING


def hide_cells(batch: Batch, hidden: Tensor) -> Batch:
    """The batch with the cells of ``hidden`` ([B or 1, n_cells] bool, numeric columns first) as missing values."""
    n_numeric = batch["numeric"].shape[1]
    numeric, category = hidden[:, :n_numeric], hidden[:, n_numeric:]
    return {
        **batch,
        "numeric": batch["numeric"].masked_fill(numeric, 0.0),
        "missing": batch["missing"] | numeric,
        "category": batch["category"].masked_fill(category, MISSING),
    }


def hidden_at_random(batch: Batch, rate: float, generator: torch.Generator | None) -> Tensor:
    """[B, n_cells] bool, each cell True with probability ``rate``; drawn on the batch's device."""
    n_cells = batch["numeric"].shape[1] + batch["category"].shape[1]
    shape = (batch["numeric"].shape[0], n_cells)
    return torch.rand(shape, generator=generator, device=batch["numeric"].device) < rate
