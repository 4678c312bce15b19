"""Supervised pretraining of an encoder that is to be carried over to a table with partly other columns."""

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
    """Views of each row; supervised training takes one."""
    n_local: int = Field(default=0, ge=0, le=0)
    """There are no local views."""
    rate: float = Field(default=0.1, ge=0, lt=1)
    """Share of the cells that are hidden as missing values; none in the paper."""


class HiddenCells(Views):
    """Rows with some cells hidden as missing values: a column that the next table lacks is then nothing new."""

    def __init__(self, config: HiddenCellsConfig, info: Info) -> None:
        super().__init__()
        self.n_global, self.n_local = config.n_global, 0
        self.rate = config.rate

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views."""
        return [hide_cells(batch, hidden_at_random(batch, self.rate, generator)) for _ in range(self.n_global)]


RECIPE = supervised(ViewsRecipe(config=HiddenCellsConfig, build=HiddenCells))
"""The upstream half of Levin et al. 2022 (arXiv:2206.15306): cross-entropy on the labels of a large table.

The downstream half is :func:`selfsup_tabular.transfer`. That cells are hidden is not in the paper, whose answer to columns that
are missing downstream is to predict them.
"""
