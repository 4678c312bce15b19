"""Swap noise: cells take the value of their column in other rows of the batch.

Cells are numbered numeric columns first, then categories, as everywhere in this plugin.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfsup.tasks import InputChange
from selfsup.types import Batch


class Swapped(NamedTuple):
    """A batch whose cells were swapped, and which of them."""

    batch: Batch
    """The batch with swapped cells; all its other keys are as they were."""
    replaced: Tensor
    """[B, n_cells] bool, where the value really changed: another row may hold the same value."""
    drawn: Tensor
    """[B, n_cells] bool, where a cell was drawn to be swapped, whether its value changed or not."""


def marginal_swap(batch: Batch, rate: float, generator: torch.Generator | None) -> Swapped:
    """Replace each cell, with probability ``rate``, by that column's cell of another row, drawn for each cell anew.

    So each value comes from the column's empirical marginal distribution (Bahri et al. 2021, arXiv:2106.15147, algorithm 1;
    Yoon et al. 2020, VIME, section 4.1, shuffle each column instead, which differs in that a row may meet itself). Unlike
    SCARF's, which draws exactly the share ``rate`` of the columns of a row, every cell is drawn by itself. A missing value is a
    value like any other.

    Args:
        batch: ``numeric`` [B, Cn], ``missing`` [B, Cn] and ``category`` [B, Cc]; a batch of one row stays as it is.
        rate: 0 to 1, the share of the cells that is drawn.
        generator: source of the draws on the batch's device; None: torch's global one.
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
    """Replace the drawn cells by those of the same column in other rows.

    Args:
        batch: as for :func:`marginal_swap`.
        donors: [B, n_cells] long, the row that each cell would come from.
        drawn: [B, n_cells] bool, the cells to replace.
    """
    numeric, missing, category = batch["numeric"], batch["missing"], batch["category"]
    Cn = numeric.shape[1]
    other_numeric = torch.where(drawn[:, :Cn], numeric.gather(0, donors[:, :Cn]), numeric)
    other_missing = torch.where(drawn[:, :Cn], missing.gather(0, donors[:, :Cn]), missing)
    other_category = torch.where(drawn[:, Cn:], category.gather(0, donors[:, Cn:]), category)
    replaced = torch.cat([(other_numeric != numeric) | (other_missing != missing), other_category != category], dim=1)
    swapped = {**batch, "numeric": other_numeric, "missing": other_missing, "category": other_category}
    return Swapped(swapped, replaced, drawn)


def n_cells(batch: Batch) -> int:
    """The cells of a row: numeric columns and categories."""
    return batch["numeric"].shape[1] + batch["category"].shape[1]
