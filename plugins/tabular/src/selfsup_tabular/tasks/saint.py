"""SAINT: contrast and denoise rows mixed with other rows, in cells (CutMix) and embeddings (mixup)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from selfsup.backbones import Backbone, TokenBackbone
from selfsup.config import Config
from selfsup.objectives import Embeddings, mlp, nt_xent
from selfsup.runtime import full
from selfsup.tasks import ComparesEmbeddings, StepOutput, TaskRecipe, Term, Views, mean_term, token_backbone
from selfsup.types import Batch, Info
from selfsup_tabular.corruptions import marginal_swap


class SAINTConfig(Config):
    """Options of SAINT's pretraining (Somepalli et al. 2021, arXiv:2106.01342)."""

    cutmix: float = Field(default=0.3, ge=0, lt=1)
    """Share of the cells replaced by the same column's cell of another row (paper: 0.3)."""
    mixup: float = Field(default=0.2, ge=0, lt=1)
    """Weight of another row's embedding in the mixture (paper: alpha = 0.2)."""
    temperature: float = Field(default=0.7, gt=0)
    """Divides the cosines of the contrastive loss (paper: 0.7)."""
    denoising_weight: float = Field(default=10.0, ge=0)
    """Lambda, weight of the denoising loss relative to the contrast (paper: 10)."""
    hidden_dim: int = Field(default=256, ge=1)
    """Width of the hidden layer of both projectors (authors' code: 6/5 of the width of all cells' embeddings)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projections (authors' code: half of the width of all cells' embeddings)."""


class MixedViews(Views):
    """Three views of each row: the row itself, a copy with cells of other rows (CutMix), and the row to mix into that copy."""

    def __init__(self, cutmix: float) -> None:
        super().__init__()
        self.cutmix = cutmix
        self.n_global, self.n_local = 3, 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """The clean rows, the rows after CutMix, and another of these for each row."""
        cut = marginal_swap(batch, self.cutmix, generator).batch
        rows = batch["numeric"].shape[0]
        device = batch["numeric"].device
        step = torch.randint(1, max(rows, 2), (rows,), generator=generator, device=device)
        other = (torch.arange(rows, device=device) + step) % rows
        return [batch, cut, {key: cut[key][other] for key in ("numeric", "missing", "category")}]


@dataclass(frozen=True)
class MixedEmbeddings(Embeddings):
    """What SAINT compares."""

    trained: ClassVar[tuple[str, ...]] = ("clean", "mixed", "cells")
    clean: Tensor
    """[B, P], projections of the rows as they are."""
    mixed: Tensor
    """[B, P], projections of the mixed rows."""
    cells: Tensor
    """[B, N], reconstruction losses of cells."""
    weight: Tensor | None
    """[B, N], 0 for cells without a target; None: all have one."""


class SAINT(ComparesEmbeddings[MixedEmbeddings]):
    """Pretraining of SAINT (Somepalli et al. 2021, arXiv:2106.01342, section 4 and equation 5), for any cells as tokens.

    One view is the row. The other has cells of other rows (CutMix) and is then mixed with another row's embedding (mixup). The
    two views are contrasted with other rows, and the cells are reconstructed from the mixed view.

    Unlike the paper: rows do not attend to each other (the intersample attention of section 3.1 belongs to its network, not to
    the task). Equation 4 gives the row itself the weight alpha = 0.2; here the *other* row has it, because a mixture with four
    fifths of another row is not a positive. Projectors use the mean over cells, which is also evaluated, not the concatenated
    cells. The contrast is the core's NT-Xent, with negatives from both views.
    """

    backbone: TokenBackbone
    couples_samples = True

    def __init__(self, config: SAINTConfig, backbone: TokenBackbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.views = MixedViews(config.cutmix)
        dims = [backbone.embed_dim, config.hidden_dim, config.output_dim]
        self.projector = mlp(dims, norm=False)
        self.mixed_projector = mlp(dims, norm=False)
        self.head = backbone.target_head(backbone.embed_dim)

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> MixedEmbeddings:
        """Mix, encode both views in one call, project, reconstruct."""
        clean, cut, other = (self.backbone.tokenize(view) for view in self.views(batch, generator))
        mixed = torch.lerp(cut.embeddings, other.embeddings, self.config.mixup)
        both = replace(
            clean,
            embeddings=torch.cat([clean.embeddings, mixed]),
            positions=_twice(clean.positions),
            padding=None if clean.padding is None else torch.cat([clean.padding, clean.padding]),
        )
        rows = len(mixed)
        encoded = self.backbone.encode(both)
        pooled = encoded.mean(dim=1)
        a, b = full(self.projector(pooled[:rows])), full(self.mixed_projector(pooled[rows:]))
        every = torch.arange(encoded.shape[1], device=encoded.device).expand(rows, -1)
        cells = self.backbone.target_loss(self.head(encoded[rows:]), self.backbone.targets(batch), every, distance="squared")
        return MixedEmbeddings(a, b, cells, self.backbone.target_weight(batch))

    def compare(self, embeddings: MixedEmbeddings) -> StepOutput:
        """Contrast the projections, and average the losses of cells."""
        contrastive = nt_xent(embeddings.clean, embeddings.mixed, self.config.temperature)
        denoising = mean_term(embeddings.cells, embeddings.weight)
        return StepOutput.of(
            Term(contrastive),
            denoising.scaled(self.config.denoising_weight),
            metrics={"contrastive_loss": contrastive.detach(), "denoising_loss": denoising.loss.detach()},
        )


def _twice(positions: Tensor) -> Tensor:
    """Positions of both views' tokens; [1, N, D] fits both."""
    return positions if len(positions) == 1 else torch.cat([positions, positions])


def build_saint(config: SAINTConfig, backbone: Backbone, info: Info) -> SAINT:
    """Build SAINT's pretraining around a token backbone."""
    return SAINT(config, token_backbone(backbone, "SAINT"))


RECIPE = TaskRecipe(
    config=SAINTConfig,
    build=build_saint,
    optimization={"optimizer": "adamw", "lr": 1e-4, "weight_decay": 0.01, "batch_size": 256},
)
"""The paper's optimizer: AdamW (1e-4, weight decay 0.01) at a batch of 256."""
