"""Tasks that only change defaults: data in a plugin's list of specs, and no module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry.composition import COMPOSE
from selfsup.registry.specs import Family, Preset, TaskSpec


def preset(
    objective: str = "",
    *,
    id: str,
    family: Family,
    summary: str,
    paper: str,
    title: str = "",
    backbone: str = "",
    needs_tokens: bool = False,
    needs_teacher: bool = False,
    recipe: str = "",
    views_recipe: str = "",
    corruption_recipe: str = "",
    views: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    optimization: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
) -> TaskSpec:
    """Describe a task that joins an objective and a modality with other defaults, without a module of its own.

    ::

        preset("byol", id="vision/byol", family="joint-embedding", views={"solarize_p": (0.0, 0.2)}, summary="...", paper="...")

    Targets are strings (``package.module:attribute``) and defaults are plain values, so that an entry module stays light.
    Defaults are checked when the task is used and by the conformance kit: a wrong one is a ``PluginError`` that names the
    plugin.

    Args:
        objective: id of a registered objective; empty where ``recipe`` is given and no objective is close to it.
        id: of the task, ``modality/name``. An id that the registry would compose by itself is replaced.
        family: of the task.
        summary: one line for ``selfsup list``.
        paper: authors, year and arXiv id or venue.
        title: the method's name as its paper writes it; empty: that of the objective.
        backbone: id of the default backbone; empty: the modality's.
        needs_tokens: whether only a backbone with tokens will do.
        needs_teacher: whether it needs a trained encoder to learn from, as ``distill`` does.
        recipe: target of an :class:`~selfsup.objectives.ObjectiveRecipe`, :class:`~selfsup.tasks.TaskFamilyRecipe`,
            :class:`~selfsup.tasks.ReconstructionFamilyRecipe` or :class:`~selfsup.tasks.TransformationRecipe` in the place of
            the objective's own.
        views_recipe: target of a :class:`~selfsup.tasks.ViewsRecipe` in the place of the modality's.
        corruption_recipe: target of a :class:`~selfsup.tasks.CorruptionRecipe` in the place of the modality's.
        views: defaults of the section ``views``.
        config: defaults of the other options; a mapping for a section (``{"objective": {"temperature": 0.2}}``).
        optimization: defaults of the optimizer, over those of the objective.
        processor: options of the modality's processor.
        backbone_options: options of the backbone, where it has them.

    Raises:
        SpecError: a name is malformed, or there is neither an objective nor a recipe.
    """
    defaults = dict(config or {})
    if views:
        defaults["views"] = views
    return TaskSpec(
        id=id,
        target=COMPOSE,
        summary=summary,
        paper=paper,
        title=title,
        modality=id.partition("/")[0],
        family=family,
        objective=objective,
        backbone=backbone,
        needs_tokens=needs_tokens,
        needs_teacher=needs_teacher,
        preset=Preset(
            recipe=recipe,
            views=views_recipe,
            corruption=corruption_recipe,
            config=defaults,
            optimization=dict(optimization or {}),
            processor=dict(processor or {}),
            backbone=dict(backbone_options or {}),
        ),
    )
