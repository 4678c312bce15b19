"""Composed tasks of the families that hide or foretell tokens, or corrupt the input."""

from __future__ import annotations

from typing import Protocol

from selfsup.errors import SpecError
from selfsup.objectives.base import ObjectiveRecipe
from selfsup.registry.specs import ObjectiveSpec, TaskSpec
from selfsup.tasks.augmented import augmented
from selfsup.tasks.base import CorruptionRecipe, TaskRecipe, ViewsRecipe
from selfsup.tasks.from_objective import recipe_from_objective
from selfsup.tasks.reconstruction import reconstruction_recipe

TOKEN_FAMILIES = ("masked-modeling", "latent-prediction", "autoregressive", "reconstruction")
"""The families that :func:`compose_tokens` joins."""


class TokenParts(Protocol):
    """What is asked of a modality; the registry's ``ModalityObjects`` has it, imported on use."""

    @property
    def single_views(self) -> ViewsRecipe | None:
        """The one view that such a task sees, or None."""
        ...

    @property
    def corruption(self) -> CorruptionRecipe | None:
        """Its default corruption, or None."""
        ...


def compose_tokens(spec: TaskSpec | ObjectiveSpec, recipe: ObjectiveRecipe, modality: TokenParts) -> TaskRecipe:
    """Join an objective of these families with a modality.

    The task sees one random view of each sample where the modality says how to draw it. Beside that only reconstruction needs
    something of the modality; the others get its token backbone when they are built.

    Args:
        spec: of the task, or of the objective; its family decides.
        recipe: the objective.
        modality: what the registry has of it.

    Raises:
        SpecError: the family is not one of these, or there is no corruption.
    """
    if spec.family not in TOKEN_FAMILIES:
        raise SpecError(f"{spec.id!r} is of family {spec.family!r}; here are composed: {', '.join(TOKEN_FAMILIES)}.")
    if spec.family != "reconstruction":
        return recipe_from_objective(recipe, views=modality.single_views)
    corruption = modality.corruption
    if corruption is None:
        raise SpecError(f"{spec.id!r} needs a corruption, and the modality registers none (ModalitySpec.corruption).")
    return augmented(reconstruction_recipe(corruption, objective=recipe), modality.single_views)
