"""Tasks that no plugin wrote: an objective of the core, or of anyone, joined with a modality."""

from __future__ import annotations

from selfsup.errors import SpecError
from selfsup.objectives.base import ObjectiveRecipe
from selfsup.registry import ModalityObjects
from selfsup.registry.specs import Family, ObjectiveSpec, TaskSpec
from selfsup.tasks.augmented import augmented
from selfsup.tasks.base import TaskFamilyRecipe, TaskRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe
from selfsup.tasks.reconstruction import ReconstructionFamilyRecipe, reconstruction_recipe

AnyRecipe = ObjectiveRecipe | TaskFamilyRecipe | ReconstructionFamilyRecipe
"""What an objective's target may be."""

RECIPES: dict[Family, type[AnyRecipe]] = {
    "joint-embedding": ObjectiveRecipe,
    "masked-modeling": TaskFamilyRecipe,
    "latent-prediction": TaskFamilyRecipe,
    "autoregressive": TaskFamilyRecipe,
    "reconstruction": ReconstructionFamilyRecipe,
}
"""Family to what the target of an objective of it is."""


def compose(spec: TaskSpec | ObjectiveSpec, recipe: AnyRecipe, modality: ModalityObjects) -> TaskRecipe:
    """Join an objective with a modality.

    Args:
        spec: of the task, or of the objective; its family decides how they are joined.
        recipe: the objective.
        modality: its views and its corruption. Tasks that make no views by themselves see one random view of each sample where
            the modality says how to draw it.

    Raises:
        SpecError: the family cannot be composed, the recipe is that of another family, or the modality lacks what it needs.
    """
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
    if modality.corruption is None:
        raise SpecError(f"{spec.id!r} needs a corruption, and the modality registers none (ModalitySpec.corruption).")
    return augmented(reconstruction_recipe(modality.corruption, family=recipe), modality.single_views)
