"""Denoising: replace cells by those of other rows, and reconstruct the original row."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config, idle
from selfsup.tasks import Corrupted, Corruption, CorruptionRecipe, Term
from selfsup.types import Batch, Info
from selfsup_tabular.corruptions.swap import marginal_swap
from selfsup_tabular.decoder import CellDecoder
from selfsup_tabular.layout import CellLayout


class SwapNoiseConfig(Config):
    """Options of :class:`SwapNoise`."""

    rate: float = Field(default=0.15, gt=0, le=1)
    """Share of the cells that come from other rows; 0.15 in Jahrer's denoising autoencoder (Porto Seguro, 2017)."""
    decoder_dim: int = Field(default=256, ge=1)
    """Width of the decoder's hidden layers."""
    decoder_depth: int = Field(default=1, ge=0)
    """Hidden layers of the decoder."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("corruption.decoder_depth is 0", self.decoder_depth == 0, "decoder_dim")


class SwapNoise(Corruption):
    """Swap noise (Jahrer 2017, the winning solution of Porto Seguro's competition), over all cells of the row.

    The loss is squared error for numbers and cross-entropy for categories, with equal weight per cell; Jahrer uses squared
    error on one-hot vectors.
    """

    def __init__(self, config: SwapNoiseConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.layout = CellLayout(info)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """Swap cells; the target is the clean row, [B, n_cells] of :meth:`CellLayout.values`."""
        return Corrupted(marginal_swap(batch, self.config.rate, generator).batch, self.layout.values(batch))

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """A decoder from the pooled embedding to all cells."""
        return CellDecoder(backbone.pooled_dim, self.layout.width, self.config.decoder_dim, self.config.decoder_depth)

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Mean over all known cells, in float32."""
        return self.layout.mean_loss(prediction, corrupted.target)


RECIPE = CorruptionRecipe(config=SwapNoiseConfig, build=SwapNoise)
