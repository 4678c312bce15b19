"""Supervised pretraining of an encoder for transfer to tables with partly different columns."""

from __future__ import annotations

import torch
from pydantic import Field

from selfsup.config import Config
from selfsup.tasks import Views, ViewsRecipe, supervised
from selfsup.types import Batch, Info
from selfsup_tabular.cell_masking import hidden_at_random, hide_cells


class HiddenCellsConfig(Config):
    """Options of :class:`HiddenCells`."""

    n_global: int = Field(default=1, ge=1)
    """Views per row; supervised training uses one."""
    n_local: int = Field(default=0, ge=0, le=0)
    """There are no local views."""
    rate: float = Field(default=0.1, ge=0, lt=1)
    """Share of the cells to hide as missing values; none in the paper."""


class HiddenCells(Views):
    """Rows with random cells hidden as missing values, to prepare for columns that the next table lacks."""

    def __init__(self, config: HiddenCellsConfig, info: Info) -> None:
        super().__init__()
        self.n_global, self.n_local = config.n_global, 0
        self.rate = config.rate

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views."""
        return [hide_cells(batch, hidden_at_random(batch, self.rate, generator)) for _ in range(self.n_global)]


RECIPE = supervised(ViewsRecipe(config=HiddenCellsConfig, build=HiddenCells))
"""The upstream half of Levin et al. 2022 (arXiv:2206.15306): cross-entropy on the labels of a large table.

The downstream half is :func:`selfsup_tabular.transfer`. The paper hides no cells; it predicts columns that
are missing downstream.
"""
