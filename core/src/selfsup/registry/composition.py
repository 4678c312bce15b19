"""Joins objectives and modalities into tasks: M objectives and N modalities make M×N of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from selfsup.registry.specs import Family, ModalitySpec, ObjectiveSpec, TaskSpec

COMPOSE = "selfsup.tasks.composed:compose"
"""Target of composed tasks: ``compose(spec, recipe, modality_objects) -> TaskRecipe``."""
RANDOM_INIT = "selfsup.tasks.references:random_init"
"""Target of ``<modality>/random-init``: ``random_init() -> TaskRecipe``."""
SUPERVISED = "selfsup.tasks.references:supervised"
"""Target of ``<modality>/supervised``: ``supervised(views: ViewsRecipe | None) -> TaskRecipe``."""

_NEEDS: dict[Family, tuple[str, str]] = {
    "joint-embedding": ("views", "default views"),
    "masked-modeling": ("token_backbone", "a default token backbone"),
    "latent-prediction": ("token_backbone", "a default token backbone"),
    "autoregressive": ("causal_backbone", "a default causal backbone"),
    "reconstruction": ("corruption", "a default corruption"),
}
"""Family to the field of the modality that it needs, and how messages call that."""

FAMILIES: tuple[str, ...] = get_args(Family)
"""The names of the task families."""


def missing_part(modality: ModalitySpec, objective: ObjectiveSpec) -> str | None:
    """What the modality would have to register for this objective; None if it has it, empty if nothing would do."""
    need = _NEEDS.get(objective.family)
    if need is None:
        return ""
    field, words = need
    if not getattr(modality, field):
        return words
    if _wants_tokens(modality, objective) and not modality.token_backbone:
        return _NEEDS["masked-modeling"][1]
    return None


def _wants_tokens(modality: ModalitySpec, objective: ObjectiveSpec) -> bool:
    """Whether the task needs a token for each part of a sample beside the whole, though nothing is hidden from the network."""
    spoils_tokens = objective.family == "reconstruction" and modality.corruption_needs_tokens
    return objective.compares_tokens or spoils_tokens


def composed_tasks(modality: ModalitySpec, objectives: Iterable[ObjectiveSpec]) -> list[TaskSpec]:
    """All tasks that a modality has without writing a recipe, its two references included."""
    tasks = [_task(modality, objective) for objective in objectives if missing_part(modality, objective) is None]
    return [*tasks, *_references(modality)]


def _task(modality: ModalitySpec, objective: ObjectiveSpec) -> TaskSpec:
    part = _NEEDS[objective.family][0]
    tokens = part in ("token_backbone", "causal_backbone")
    backbone = getattr(modality, part) if tokens else modality.backbone
    if _wants_tokens(modality, objective):
        backbone = modality.token_backbone
    return TaskSpec(
        id=f"{modality.id}/{objective.id}",
        summary=objective.summary,
        target=COMPOSE,
        modality=modality.id,
        family=objective.family,
        paper=objective.paper,
        title=objective.title,
        backbone=backbone,
        needs_tokens=tokens,
        objective=objective.id,
        needs_teacher=objective.needs_teacher,
        composed=True,
    )


def _references(modality: ModalitySpec) -> list[TaskSpec]:
    return [
        TaskSpec(
            id=f"{modality.id}/random-init",
            summary="Reference: the backbone at initialisation, without training.",
            target=RANDOM_INIT,
            modality=modality.id,
            family="reference",
            paper="none: the floor that pretraining has to beat",
            backbone=modality.backbone,
            composed=True,
        ),
        TaskSpec(
            id=f"{modality.id}/supervised",
            summary="Reference: supervised training with all labels (cross-entropy, or squared error of numbers).",
            target=SUPERVISED,
            modality=modality.id,
            family="reference",
            paper="none: the ceiling that labels give on the same budget",
            backbone=modality.backbone,
            needs_labels=True,
            composed=True,
        ),
    ]
