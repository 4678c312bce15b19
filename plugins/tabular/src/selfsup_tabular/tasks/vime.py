"""VIME: guess which cells were changed, and what they were."""

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
    """Share of the cells that is drawn to be replaced by the same column's cell of another row (authors' code: 0.3)."""
    feature_weight: float = Field(default=2.0, ge=0)
    """Alpha, the weight of giving the cells back against finding the changed ones (authors' code: 2)."""


class VIME(PretextTask):
    """Value imputation and mask estimation (Yoon et al. 2020, "VIME", NeurIPS, equations 3 to 5).

    Cells are replaced by values of their column's empirical marginal; from the embedding one linear layer estimates which cells
    differ from what they were (binary cross-entropy; a cell that met an equal value counts as unchanged, as in the authors'
    code), and another gives the row back. Numbers are compared by squared error as in the paper, which has min-max scaled ones
    only; categories, one-hot in the paper, by cross-entropy. The paper has no missing values. Here a cell that is missing
    in the row is not asked for, and whether a cell was changed is asked only where it holds something before and after.

    Args:
        config: options.
        backbone: the network to train.
        info: of the processor.
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
        """Swap cells, encode, estimate mask and cells."""
        swapped = self.swap(batch, generator)
        pooled = self.backbone(swapped.batch).pooled
        logits = self.mask_head(pooled)
        logits = full(logits)
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
"""VIME; the authors' code takes RMSProp (1e-3) at a batch of 128."""
