"""Joint-embedding objectives on corruption views, with heads and optimizers of the size of tables.

The papers train ResNet-50 on ImageNet, most of them with LARS and heads of up to 8192 units: many times the size of an encoder
of tables. Losses and everything else are the papers'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from selfsup.objectives import ObjectiveRecipe
from selfsup.objectives.barlow_twins import RECIPE as BARLOW_TWINS_OBJECTIVE
from selfsup.objectives.byol import RECIPE as BYOL_OBJECTIVE
from selfsup.objectives.simsiam import RECIPE as SIMSIAM_OBJECTIVE
from selfsup.objectives.vicreg import RECIPE as VICREG_OBJECTIVE
from selfsup.tasks import TaskRecipe
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe
from selfsup_tabular.augmentations import RECIPE as VIEWS

OPTIMIZATION: dict[str, Any] = {
    "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "warmup_fraction": 0.05, "batch_size": 256,
}  # fmt: skip
"""What small networks on tables take well; the papers' learning rates are LARS's or SGD's."""


def small(objective: ObjectiveRecipe, momentum: tuple[float, float] | None = None, **heads: int) -> TaskRecipe:
    """The objective on SCARF's views with heads of these widths.

    Args:
        objective: of the core.
        momentum: start and end of the moving average's momentum.
        heads: options of the objective.
    """
    plain = replace(objective, optimization=OPTIMIZATION)
    return joint_embedding_recipe(plain, VIEWS, objective_defaults=heads, momentum=momentum)


VICREG = small(VICREG_OBJECTIVE, hidden_dim=512, output_dim=512)
BARLOW_TWINS = small(BARLOW_TWINS_OBJECTIVE, hidden_dim=512, output_dim=512)
BYOL = small(BYOL_OBJECTIVE, (0.99, 1.0), hidden_dim=512, output_dim=128)
SIMSIAM = small(SIMSIAM_OBJECTIVE, hidden_dim=512, output_dim=512, bottleneck_dim=128)
