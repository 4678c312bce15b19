"""The recipe of a task whose objective needs no more than a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.config_layers import merge_layers
from selfsup.objectives.base import ObjectiveRecipe
from selfsup.tasks.augmented import augmented
from selfsup.tasks.base import TaskRecipe, ViewsRecipe
from selfsup.tasks.config_sections import with_defaults


def recipe_from_objective(
    objective: ObjectiveRecipe,
    *,
    optimization: Mapping[str, Any] | None = None,
    views: ViewsRecipe | None = None,
    view_defaults: Mapping[str, Any] | None = None,
    backbone: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> TaskRecipe:
    """The task that ``objective.build(config, backbone, info)`` gives: masked, latent and autoregressive prediction.

    Args:
        objective: the family's.
        optimization: changes to the paper's optimizer settings.
        views: draw one such view of each sample first; None: the task sees the sample as it is.
        view_defaults: defaults of the views' section that differ from their own.
        backbone: options of the backbone that suit the task, where it has them.
        defaults: other defaults for fields of the objective's config; a mapping for a section.

    Raises:
        ConfigError: a default is of no field, or breaks its limits.
    """
    recipe = TaskRecipe(
        config=with_defaults(objective.config, defaults),
        build=objective.build,
        optimization=merge_layers(objective.optimization, optimization or {}),
        backbone={**objective.backbone, **(backbone or {})},
    )
    return augmented(recipe, views, view_defaults)
