"""Views: a window of every sequence, and noise on its tokens."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.tasks.base import Views, ViewsRecipe
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.testing.toy.sequences.noise import Noise
from selfsup.types import Batch, Info


class SequenceViewsConfig(Config):
    """Options of the views."""

    n_global: int = Field(default=2, ge=1)
    """Views of long windows."""
    n_local: int = Field(default=0, ge=0)
    """Views of short windows."""
    global_share: float = Field(default=0.75, gt=0, le=1)
    """Length of a long window, as a share of the sequence."""
    local_share: float = Field(default=0.4, gt=0, le=1)
    """Length of a short window, as a share of the sequence."""
    noise: float = Field(default=0.1, ge=0, le=1)
    """Share of the ids that is replaced, or deviation of the noise on frames in standard deviations."""


class SupervisedViewsConfig(SequenceViewsConfig):
    """Light augmentation: one long window, little noise."""

    n_global: int = Field(default=1, ge=1)
    """Views of long windows."""
    global_share: float = Field(default=0.9, gt=0, le=1)
    """Length of a long window, as a share of the sequence."""
    noise: float = Field(default=0.05, ge=0, le=1)
    """Share of the ids that is replaced, or deviation of the noise on frames in standard deviations."""


class SequenceViews(Views):
    """Windows at random places, one a sample and view, with noise."""

    def __init__(self, config: SequenceViewsConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.n_global, self.n_local = config.n_global, config.n_local
        self.noise = Noise(info, config.noise)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """The long windows, then the short ones."""
        shares = [self.config.global_share] * self.n_global + [self.config.local_share] * self.n_local
        return [self._view(batch, share, generator) for share in shares]

    def _view(self, batch: Batch, share: float, generator: torch.Generator | None) -> Batch:
        sequence, padding = batch["sequence"], batch.get("padding")
        B, N = sequence.shape[:2]
        length = real_length(sequence, padding)
        width, widths = int(_share_of(N, share)), _share_of(length, share)
        start = (torch.rand(B, 1, generator=generator, device=sequence.device) * (length - widths + 1)).long()
        start = torch.minimum(start, length - widths)
        place = torch.arange(width, device=sequence.device).unsqueeze(0)
        # A sample shorter than its neighbours has a shorter window; the rest of the row is padding.
        window = gather_tokens(sequence, torch.minimum(start + place, length - 1))
        view = {**batch, "sequence": self.noise(window, generator)}
        if padding is not None:
            view["padding"] = place >= widths
        extent = torch.full_like(start, width, dtype=torch.float32)
        view["crop"] = torch.stack([start / N, extent / N], dim=-1)
        return view


def real_length(sequence: Tensor, padding: Tensor | None) -> Tensor:
    """[B, 1] long, the tokens of each sample that are not padding."""
    if padding is None:
        return torch.full((sequence.shape[0], 1), sequence.shape[1], device=sequence.device)
    return (~padding).sum(dim=1, keepdim=True)


def _share_of(length: Any, share: float) -> Any:
    """At least one, and the nearest whole number; in integers, so that host and device agree."""
    tokens = (length * round(share * 1000) + 500) // 1000
    return tokens.clamp(min=1) if isinstance(tokens, Tensor) else max(tokens, 1)


VIEWS = ViewsRecipe(SequenceViewsConfig, SequenceViews)
SUPERVISED_VIEWS = ViewsRecipe(SupervisedViewsConfig, SequenceViews)
