"""Tasks that no plugin wrote: an objective of the core, or of anyone, joined with a modality."""

from __future__ import annotations

from typing import Protocol

from selfsup.errors import SpecError
from selfsup.objectives.base import ObjectiveRecipe
from selfsup.registry.specs import ObjectiveSpec, TaskSpec
from selfsup.tasks.base import CorruptionRecipe, TaskRecipe, ViewsRecipe
from selfsup.tasks.composed_tokens import TOKEN_FAMILIES, compose_tokens
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe


class ModalityParts(Protocol):
    """What is asked of a modality; the registry's ``ModalityObjects`` has it, imported on use."""

    @property
    def views(self) -> ViewsRecipe | None:
        """Its default views, or None."""
        ...

    @property
    def single_views(self) -> ViewsRecipe | None:
        """The one view that tasks see which make none by themselves, or None."""
        ...

    @property
    def corruption(self) -> CorruptionRecipe | None:
        """Its default corruption, or None."""
        ...


def compose(spec: TaskSpec | ObjectiveSpec, recipe: ObjectiveRecipe, modality: ModalityParts) -> TaskRecipe:
    """Join an objective with a modality.

    Args:
        spec: of the task, or of the objective; its family decides how they are joined.
        recipe: the objective.
        modality: what the registry has of the modality.

    Raises:
        SpecError: the family cannot be composed, or the modality lacks what it needs.
    """
    if spec.family in TOKEN_FAMILIES:
        return compose_tokens(spec, recipe, modality)
    if spec.family != "joint-embedding":
        families = ", ".join(("joint-embedding", *TOKEN_FAMILIES))
        raise SpecError(f"{spec.id!r} is of family {spec.family!r}, which cannot be composed: those that can are {families}.")
    views = modality.views
    if views is None:
        raise SpecError(f"{spec.id!r} needs views, and the modality registers none (ModalitySpec.views).")
    return joint_embedding_recipe(recipe, views)
