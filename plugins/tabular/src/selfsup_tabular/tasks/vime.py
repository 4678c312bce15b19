"""VIME: detect corrupted cells and reconstruct the row."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.runtime import full
from selfsup.tasks import PretextTask, StepOutput, TaskRecipe, mean_term
from selfsup.types import Batch, Info
from selfsup_tabular.corruptions import MarginalSwap
from selfsup_tabular.layout import CellLayout


class VIMEConfig(Config):
    """Options of VIME (Yoon et al. 2020, NeurIPS)."""

    rate: float = Field(default=0.3, gt=0, lt=1)
    """Share of the cells to replace by the same column's cell of another row (authors' code: 0.3)."""
    feature_weight: float = Field(default=2.0, ge=0)
    """Alpha, weight of the reconstruction relative to the detection (authors' code: 2)."""


class VIME(PretextTask):
    """Value imputation and mask estimation (Yoon et al. 2020, "VIME", NeurIPS, equations 3 to 5).

    Cells are replaced by draws from their column's empirical marginal. From the embedding one linear layer detects which cells
    changed (binary cross-entropy; a cell replaced by an equal value is unchanged, as in the authors' code), and another one
    reconstructs the row. Numbers have squared error, as in the paper (there min-max scaled), categories cross-entropy (paper:
    one-hot). The paper has no missing values; here missing cells are not reconstructed, and changes are detected only in cells
    that are known before and after.
    """

    def __init__(self, config: VIMEConfig, backbone: Backbone, info: Info) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.layout = CellLayout(info)
        self.swap = MarginalSwap(config.rate)
        self.mask_head = nn.Linear(backbone.pooled_dim, self.layout.n_cells)
        self.decoder = nn.Linear(backbone.pooled_dim, self.layout.width)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Swap cells, encode, predict changes and cells."""
        swapped = self.swap(batch, generator)
        pooled = self.backbone(swapped.batch).pooled
        logits = full(self.mask_head(pooled))
        wrong = F.binary_cross_entropy_with_logits(logits, swapped.replaced.to(logits.dtype), reduction="none")
        values = self.layout.values(batch)
        known = self.layout.known(values) & self.layout.known(self.layout.values(swapped.batch))
        mask_loss = mean_term(wrong, known.to(wrong.dtype))
        feature_loss = self.layout.mean_loss(self.decoder(pooled), values)
        return StepOutput.of(
            mask_loss,
            feature_loss.scaled(self.config.feature_weight),
            metrics={"mask_loss": mask_loss.loss.detach(), "feature_loss": feature_loss.loss.detach()},
        )


RECIPE = TaskRecipe(
    config=VIMEConfig,
    build=VIME,
    optimization={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "batch_size": 128},
)
"""Adam instead of the authors' RMSProp (1e-3) at a batch of 128."""
