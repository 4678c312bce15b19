"""Compose a task from an objective and a modality."""

from __future__ import annotations

from dataclasses import replace

from selfsup.config_layers import merge_layers
from selfsup.errors import SpecError
from selfsup.objectives.base import ObjectiveRecipe
from selfsup.registry import ModalityObjects
from selfsup.registry.specs import Family, ObjectiveSpec, Preset, TaskSpec
from selfsup.tasks.augmented import augmented
from selfsup.tasks.base import TaskFamilyRecipe, TaskRecipe, TransformationRecipe
from selfsup.tasks.config_sections import with_defaults
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe
from selfsup.tasks.reconstruction import ReconstructionFamilyRecipe, reconstruction_recipe
from selfsup.tasks.transformation import transformation_recipe

AnyRecipe = ObjectiveRecipe | TaskFamilyRecipe | ReconstructionFamilyRecipe | TransformationRecipe
"""What is joined with a modality."""

RECIPES: dict[Family, type[AnyRecipe]] = {
    "joint-embedding": ObjectiveRecipe,
    "masked-modeling": TaskFamilyRecipe,
    "latent-prediction": TaskFamilyRecipe,
    "autoregressive": TaskFamilyRecipe,
    "reconstruction": ReconstructionFamilyRecipe,
    "transformation": TransformationRecipe,
}
"""Family to what makes its tasks: the target of an objective, or of a preset's ``recipe``."""


def compose(spec: TaskSpec | ObjectiveSpec, recipe: AnyRecipe, modality: ModalityObjects) -> TaskRecipe:
    """Join an objective with a modality.

    Args:
        spec: of the task, or of the objective; its family decides how they are joined. A task's preset changes defaults.
        recipe: the objective, or the transformation.
        modality: its views and its corruption. Tasks that make no views by themselves see one random view of each sample where
            the modality says how to draw it.

    Raises:
        SpecError: the family cannot be composed, the recipe is that of another family, or the modality lacks what it needs.
        ConfigError: the preset has a default that is of no option, or is not allowed.
    """
    joined = _join(spec, recipe, modality)
    preset = spec.preset if isinstance(spec, TaskSpec) else None
    return joined if preset is None else _with_preset(joined, preset)


def _with_preset(recipe: TaskRecipe, preset: Preset) -> TaskRecipe:
    return replace(
        recipe,
        config=with_defaults(recipe.config, preset.config),
        optimization=merge_layers(recipe.optimization, preset.optimization),
        processor={**recipe.processor, **preset.processor},
        backbone={**recipe.backbone, **preset.backbone},
    )


def _join(spec: TaskSpec | ObjectiveSpec, recipe: AnyRecipe, modality: ModalityObjects) -> TaskRecipe:
    wanted = RECIPES.get(spec.family)
    if wanted is None:
        families = ", ".join(RECIPES)
        raise SpecError(f"{spec.id!r} is of family {spec.family!r}, which cannot be composed: those that can are {families}.")
    if not isinstance(recipe, wanted):
        raise SpecError(
            f"{spec.id!r} is of family {spec.family!r}, so that its target must be a {wanted.__name__}; it is a "
            f"{type(recipe).__name__}."
        )
    if isinstance(recipe, ObjectiveRecipe):
        if modality.views is None:
            raise SpecError(f"{spec.id!r} needs views, and the modality registers none (ModalitySpec.views).")
        return joint_embedding_recipe(recipe, modality.views)
    if isinstance(recipe, TaskFamilyRecipe):
        return recipe_from_family(recipe, views=modality.single_views)
    if isinstance(recipe, TransformationRecipe):
        return augmented(transformation_recipe(recipe.config, recipe.build), modality.single_views)
    if modality.corruption is None:
        raise SpecError(f"{spec.id!r} needs a corruption, and the modality registers none (ModalitySpec.corruption).")
    return augmented(reconstruction_recipe(modality.corruption, family=recipe), modality.single_views)
