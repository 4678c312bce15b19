"""Views of pairs: each of the two sequences is a view, with a little noise."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import nn

from selfsup.batch_parts import MARK, only_part, part_of
from selfsup.config import Config
from selfsup.tasks.base import Views, ViewsRecipe
from selfsup.testing.toy.pairs.rows import PARTS
from selfsup.testing.toy.sequences.noise import Noise
from selfsup.types import Batch, Info


class PairViewsConfig(Config):
    """Options of the views."""

    n_global: int = Field(default=2, ge=2, le=2)
    """One view a part."""
    n_local: int = Field(default=0, ge=0, le=0)
    """There are no others."""
    noise: float = Field(default=0.05, ge=0, le=1)
    """Share of the ids that is replaced, or deviation of the noise on frames in standard deviations."""


class PairViews(Views):
    """The first sequence, then the second."""

    def __init__(self, config: PairViewsConfig, info: Info) -> None:
        super().__init__()
        self.n_global, self.n_local = config.n_global, config.n_local
        self.noises = nn.ModuleDict({part: Noise(info["parts"][part]["info"], config.noise) for part in PARTS})

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """One batch a part, which holds nothing of the other."""
        views: list[Batch] = []
        for part in PARTS:
            noise: Any = self.noises[part]
            sequence = noise(part_of(batch, part)["sequence"], generator)
            views.append({**only_part(batch, part), f"{part}{MARK}sequence": sequence})
        return views


VIEWS = ViewsRecipe(PairViewsConfig, PairViews)
