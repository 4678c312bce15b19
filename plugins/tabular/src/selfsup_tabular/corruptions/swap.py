"""Swap noise: replace cells by those of the same column in other rows of the batch.

Cells are ordered as everywhere in this plugin: numeric columns, then categories.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.tasks import InputChange
from selfsup.types import Batch


class Swapped(NamedTuple):
    """A batch with swapped cells, and which cells were swapped."""

    batch: Batch
    """The batch with swapped cells; other keys are unchanged."""
    replaced: Tensor
    """[B, n_cells] bool, cells whose value changed; another row may hold the same value."""
    drawn: Tensor
    """[B, n_cells] bool, cells that were drawn, whether or not their value changed."""


def marginal_swap(batch: Batch, rate: float, generator: torch.Generator | None) -> Swapped:
    """Replace each cell, with probability ``rate``, by that column's cell of another row, drawn independently per cell.

    Values then follow the column's empirical marginal distribution (Bahri et al. 2021, arXiv:2106.15147, algorithm 1). VIME
    (Yoon et al. 2020, section 4.1) shuffles each column instead, so that a row may keep its value. SCARF draws exactly the
    share ``rate`` of a row's columns; here cells are drawn independently. Missing values are swapped like others.

    Args:
        batch: ``numeric`` [B, Cn], ``missing`` [B, Cn] and ``category`` [B, Cc]; a single row stays unchanged.
        rate: share of the cells to draw, 0 to 1.
        generator: for the random draws, on the batch's device; None: torch's global one.
    """
    device = batch["numeric"].device
    B = batch["numeric"].shape[0]
    shape = (B, n_cells(batch))
    drawn = torch.rand(shape, generator=generator, device=device) < rate
    step = torch.randint(1, max(B, 2), shape, generator=generator, device=device)
    donors = (torch.arange(B, device=device).unsqueeze(1) + step) % B
    return swap_cells(batch, donors, drawn)


class MarginalSwap(InputChange):
    """:func:`marginal_swap` with a fixed rate, as a part of a task."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Swapped:
        """Swap cells."""
        return marginal_swap(batch, self.rate, generator)


def swap_cells(batch: Batch, donors: Tensor, drawn: Tensor) -> Swapped:
    """Replace the cells in ``drawn`` ([B, n_cells] bool) by those of the rows ``donors`` ([B, n_cells] long)."""
    numeric, missing, category = batch["numeric"], batch["missing"], batch["category"]
    Cn = numeric.shape[1]
    other_numeric = torch.where(drawn[:, :Cn], numeric.gather(0, donors[:, :Cn]), numeric)
    other_missing = torch.where(drawn[:, :Cn], missing.gather(0, donors[:, :Cn]), missing)
    other_category = torch.where(drawn[:, Cn:], category.gather(0, donors[:, Cn:]), category)
    replaced = torch.cat([(other_numeric != numeric) | (other_missing != missing), other_category != category], dim=1)
    swapped = {**batch, "numeric": other_numeric, "missing": other_missing, "category": other_category}
    return Swapped(swapped, replaced, drawn)


def n_cells(batch: Batch) -> int:
    """Number of cells per row: numeric columns and categories."""
    return batch["numeric"].shape[1] + batch["category"].shape[1]
