"""Views of texts: a random window, deleted tokens, and dropout in the network."""

from __future__ import annotations

import math
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.tasks import Views, ViewsRecipe
from selfsup.types import Batch, Info
from selfsup_text.augmentations.tokens import compact, thin_out, window_mask
from selfsup_text.backbones.dropout import RATE_KEY, SEED_KEY

Share = tuple[float, float]
Rate = Annotated[float, Field(ge=0, lt=1)]


class TextViewsConfig(Config):
    """Options of :class:`TextViews`."""

    n_global: int = Field(2, ge=1)
    """Long views per text; 2 in SimCSE (Gao et al. 2021, arXiv:2104.08821)."""
    n_local: int = Field(0, ge=0)
    """Short views per text; none in the papers named here."""
    global_share: Share = (0.4, 1.0)
    """Least and largest window of a long view, as a share of the text; (0.05, 0.5) in Contriever (documents), 1 in SimCSE."""
    local_share: Share = (0.1, 0.4)
    """Least and largest window of a short view, as a share of the text."""
    deletion: Rate = 0.1
    """Share of the tokens to delete; 0.1 in Contriever (Izacard et al. 2021, arXiv:2112.09118), 0 in SimCSE."""
    dropout: Rate = 0.1
    """Dropout rate in the network, with another mask per view; 0.1 in SimCSE, whose views differ only by dropout."""

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        for name in ("global_share", "local_share"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name}=({low}, {high}) is not a valid range: 0 < low <= high <= 1")
        return self

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("views.n_local is 0", self.n_local == 0, "local_share")


class SupervisedTextViewsConfig(TextViewsConfig):
    """Light augmentation: the whole text with dropout."""

    n_global: int = Field(1, ge=1)
    """Views per text; supervised training uses one."""
    global_share: Share = (1.0, 1.0)
    """Least and largest window, as a share of the text; all of it in BERT."""
    deletion: Rate = 0.05
    """Share of the tokens to delete; 0 in BERT."""


class TextViews(Views):
    """Random views of a batch of texts, on its device; each sample has its own window, deletions and dropout.

    A view holds ``ids``, ``padding``, ``words`` and ``crop`` (see :class:`selfsup.tasks.Views`), which is exact except for
    deleted tokens. With dropout it also holds ``dropout_seed`` and ``dropout_rate``, from which the backbone makes the masks
    (on hidden layers; SimCSE also drops attention weights).
    """

    def __init__(self, config: TextViewsConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.n_global, self.n_local = config.n_global, config.n_local
        self.pad_id = int(info["pad_id"])

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` long views, then ``n_local`` short ones."""
        shares = [self.config.global_share] * self.n_global + [self.config.local_share] * self.n_local
        return [self._view(batch, share, generator) for share in shares]

    def _view(self, batch: Batch, share: Share, generator: torch.Generator | None) -> Batch:
        padding = batch["padding"]
        B, N = padding.shape
        window = window_mask(padding, share, generator)
        kept = thin_out(window, self.config.deletion, generator) if self.config.deletion else window
        width = max(min(math.ceil(share[1] * N), N), 1)
        view = compact(batch, kept, width, self.pad_id)
        view["crop"] = _crop(window, kept, width)
        if self.config.dropout:
            view[SEED_KEY] = torch.randint(1 << 31, (B,), generator=generator, device=padding.device)
            view[RATE_KEY] = torch.full((B,), self.config.dropout, device=padding.device)
        return view


def _crop(window: Tensor, kept: Tensor, width: int) -> Tensor:
    """[B, 1, 2], origin and extent of a view of ``width`` tokens, as shares of the text."""
    N = window.shape[1]
    start = window.float().argmax(dim=1)
    # The remaining tokens are spread evenly over the window.
    step = window.sum(dim=1) / kept.sum(dim=1).clamp(min=1)
    return torch.stack([start / N, step * width / N], dim=-1).unsqueeze(1)


RECIPE = ViewsRecipe(config=TextViewsConfig, build=TextViews)
"""The default views of texts."""
SUPERVISED_RECIPE = ViewsRecipe(config=SupervisedTextViewsConfig, build=TextViews)
"""The light augmentation of supervised training."""
