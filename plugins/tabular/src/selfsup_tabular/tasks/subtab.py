"""SubTab: reconstruct and contrast rows from overlapping subsets of their columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config, idle
from selfsup.errors import ConfigError
from selfsup.objectives import Embeddings, mlp, nt_xent
from selfsup.runtime import full
from selfsup.tasks import ComparesEmbeddings, StepOutput, TaskRecipe, Term, Views, encode_views, mean_term
from selfsup.types import Batch, Info
from selfsup_tabular.cell_masking import hide_cells
from selfsup_tabular.corruptions import marginal_swap
from selfsup_tabular.decoder import CellDecoder
from selfsup_tabular.layout import CellLayout


class SubTabConfig(Config):
    """Options of SubTab (Ucar et al. 2021, arXiv:2110.04361)."""

    n_subsets: int = Field(default=4, ge=2)
    """Number K of subsets, at most the number of columns (paper: 4 for MNIST, tuned for each table)."""
    overlap: float = Field(default=0.75, ge=0, le=1)
    """Columns shared with the neighbouring subset, relative to the others (paper: 0.75)."""
    whole_row: bool = True
    """Whether the whole row is an additional view, because the encoder is used on whole rows; the paper averages subsets."""
    noise: float = Field(default=0.15, ge=0, lt=1)
    """Share of the cells replaced by another row's (swap noise; authors' code: 0.15 to 0.3)."""
    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines of the contrastive loss (paper: 0.1)."""
    contrastive_weight: float = Field(default=1.0, ge=0)
    """Weight of NT-Xent between the subsets' projections (paper: 1)."""
    distance_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared distance between the subsets' projections (paper: 1)."""
    hidden_dim: int = Field(default=256, ge=1)
    """Width of the hidden layers of projector and decoder (authors' code: as wide as the encoder's)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projection (authors' code: as wide as the embedding)."""
    decoder_depth: int = Field(default=1, ge=0)
    """Hidden layers of the decoder (authors' code: as many as the encoder has)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("contrastive_weight is 0", self.contrastive_weight == 0, "temperature")


def column_subsets(n_cells: int, n_subsets: int, overlap: float) -> Tensor:
    """[K, n_cells] bool, the columns of each subset.

    Columns are divided into K blocks of nearly equal size; each block is extended by the share ``overlap`` of its size to the
    left (the first one to the right), as in the authors' code. K is at most ``n_cells``.

    Raises:
        ConfigError: there are fewer than two columns.
    """
    if n_cells < 2:
        raise ConfigError(f"SubTab divides the columns into subsets and needs at least two, but this table has {n_cells}.")
    n_subsets = min(n_subsets, n_cells)
    bounds = [round(k * n_cells / n_subsets) for k in range(n_subsets + 1)]
    held = torch.zeros(n_subsets, n_cells, dtype=torch.bool)
    for k, (start, end) in enumerate(pairwise(bounds)):
        more = round(overlap * (end - start))
        held[k, max(start - more, 0) : end + (more if k == 0 else 0)] = True
    return held


class SubsetViews(Views):
    """K views of each row with its own subset of the columns; the other cells are missing."""

    hidden: Tensor

    def __init__(self, config: SubTabConfig, n_cells: int) -> None:
        super().__init__()
        hidden = ~column_subsets(n_cells, config.n_subsets, config.overlap)
        if config.whole_row:
            hidden = torch.cat([hidden, torch.zeros(1, n_cells, dtype=torch.bool)])
        self.register_buffer("hidden", hidden, persistent=False)
        self.noise = config.noise
        self.n_global, self.n_local = len(hidden), 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """One view per subset, each with its own swap noise."""
        views = []
        for place in range(self.n_global):
            noisy = marginal_swap(batch, self.noise, generator).batch if self.noise else batch
            views.append(hide_cells(noisy, self.hidden[place : place + 1]))
        return views


@dataclass(frozen=True)
class SubsetEmbeddings(Embeddings):
    """What SubTab compares."""

    trained: ClassVar[tuple[str, ...]] = ("projected", "losses")
    projected: list[Tensor]
    """[B, P] per subset."""
    losses: Tensor
    """[B, C], reconstruction losses of cells, averaged over subsets."""
    known: Tensor
    """[B, C] float, 0 for missing cells."""


class SubTab(ComparesEmbeddings[SubsetEmbeddings]):
    """Subsetting features of tabular data (Ucar et al. 2021, arXiv:2110.04361, equations 1 to 4).

    Each subset of the columns is encoded separately. The whole row is reconstructed from each, and all pairs of subsets are
    compared (NT-Xent and squared distance of their projections). In the paper the encoder's input is only the subset, and
    embeddings of new rows are means over subsets. Here the other columns are missing values, and by default the whole row is an
    additional view, so that the encoder works on whole rows.
    """

    couples_samples = True

    def __init__(self, config: SubTabConfig, backbone: Backbone, info: Info) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.layout = CellLayout(info)
        self.views = SubsetViews(config, self.layout.n_cells)
        self.projector = mlp([backbone.pooled_dim, config.hidden_dim, config.output_dim], norm=False, activation=nn.LeakyReLU)
        self.decoder = CellDecoder(backbone.pooled_dim, self.layout.width, config.hidden_dim, config.decoder_depth)

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> SubsetEmbeddings:
        """Make subsets, encode, reconstruct, project."""
        encoded = encode_views(self.backbone, self.views(batch, generator))
        values = self.layout.values(batch)
        # All views reconstruct the same cells, so their losses can be averaged first.
        losses = torch.stack([self.layout.losses(self.decoder(view), values) for view in encoded]).mean(dim=0)
        projected = full(self.projector(torch.cat([view.pooled for view in encoded])))
        return SubsetEmbeddings(list(projected.chunk(len(encoded))), losses, self.layout.known(values).float())

    def compare(self, embeddings: SubsetEmbeddings) -> StepOutput:
        """Compare all pairs of subsets, and average the losses of cells."""
        reconstruction = mean_term(embeddings.losses, embeddings.known)
        pairs = list(combinations(embeddings.projected, 2))
        contrastive = torch.stack([nt_xent(a, b, self.config.temperature) for a, b in pairs]).mean()
        distance = torch.stack([(a - b).square().mean() for a, b in pairs]).mean()
        return StepOutput.of(
            reconstruction,
            Term(self.config.contrastive_weight * contrastive + self.config.distance_weight * distance),
            metrics={
                "reconstruction_loss": reconstruction.loss.detach(),
                "contrastive_loss": contrastive.detach(),
                "distance_loss": distance.detach(),
            },
        )


RECIPE = TaskRecipe(
    config=SubTabConfig,
    build=SubTab,
    optimization={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-5, "batch_size": 256, "clip": 1.0},
)
"""The authors' optimizer: AdamW (1e-3) at a batch of 256."""
