"""Turn the recipe of a task family into the recipe of a task: other defaults, and one random view per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.config_layers import merge_layers
from selfsup.tasks.augmented import augmented
from selfsup.tasks.base import TaskFamilyRecipe, TaskRecipe, ViewsRecipe
from selfsup.tasks.config_sections import with_defaults


def recipe_from_family(
    family: TaskFamilyRecipe,
    *,
    optimization: Mapping[str, Any] | None = None,
    views: ViewsRecipe | None = None,
    view_defaults: Mapping[str, Any] | None = None,
    backbone: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> TaskRecipe:
    """Make the recipe of a task of a family: masked, latent and autoregressive prediction.

    Args:
        family: config, builder and the paper's settings.
        optimization: changes to the paper's optimizer settings.
        views: draw one such view of each sample first; None: the task sees the sample as it is.
        view_defaults: defaults of the views' section that differ from their own.
        backbone: options of the backbone that suit the task, where it has them.
        defaults: other defaults for fields of the family's config; a mapping for a section.

    Raises:
        ConfigError: a default is of no field, or breaks its limits.
    """
    recipe = TaskRecipe(
        config=with_defaults(family.config, defaults),
        build=family.build,
        optimization=merge_layers(family.optimization, optimization or {}),
        backbone={**family.backbone, **(backbone or {})},
    )
    return augmented(recipe, views, view_defaults)
