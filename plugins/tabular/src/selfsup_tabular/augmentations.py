"""The default views of tables, SCARF's: the row itself, and a copy with cells of other rows."""

from __future__ import annotations

import torch
from pydantic import Field

from selfsup.config import Config, idle
from selfsup.tasks import Views, ViewsRecipe
from selfsup.types import Batch, Info
from selfsup_tabular.corruptions.swap import marginal_swap


class SwapViewsConfig(Config):
    """Options of :class:`SwapViews`; the defaults are SCARF's (Bahri et al. 2021, arXiv:2106.15147)."""

    n_global: int = Field(default=2, ge=1)
    """Views with cells swapped at ``rate``; 2 in the paper."""
    n_local: int = Field(default=0, ge=0)
    """Views with cells swapped at ``local_rate``; none in the paper."""
    rate: float = Field(default=0.6, ge=0, le=1)
    """Share of the cells of a view that come from other rows; 0.6 in the paper."""
    local_rate: float = Field(default=0.8, ge=0, le=1)
    """Share of the cells of a local view that come from other rows."""
    corrupt_first: bool = False
    """Whether the first view is corrupted like the others; in the paper it is the unchanged row."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("views.n_local is 0", self.n_local == 0, "local_rate")


class SwapViews(Views):
    """Copies of a batch in which random cells have the value of the same column in another row."""

    def __init__(self, config: SwapViewsConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.n_global, self.n_local = config.n_global, config.n_local

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """The global views, then the local ones. The first global view is the batch itself unless ``corrupt_first`` is set."""
        config = self.config
        cells = {key: batch[key] for key in ("numeric", "missing", "category")}
        rates = [config.rate] * config.n_global + [config.local_rate] * config.n_local
        return [
            cells if place == 0 and not config.corrupt_first else marginal_swap(cells, rate, generator).batch
            for place, rate in enumerate(rates)
        ]


RECIPE = ViewsRecipe(config=SwapViewsConfig, build=SwapViews)
"""The default views of tables."""
