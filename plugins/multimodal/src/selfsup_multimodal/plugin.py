"""The entry point of the multimodal plugin: hooks that return specs. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, EvaluatorSpec, ModalitySpec, TaskSpec, hookimpl
from selfsup_multimodal.specs.backbones import BACKBONES
from selfsup_multimodal.specs.evaluators import EVALUATORS
from selfsup_multimodal.specs.modality import MODALITIES
from selfsup_multimodal.specs.tasks import TASKS

SELFSUP_API = 1


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """Rows of several parts."""
    return list(MODALITIES)


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """A tower a part, and one network for the tokens of all parts."""
    return list(BACKBONES)


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; what the core composes is not among them."""
    return list(TASKS)


@hookimpl
def selfsup_evaluators() -> list[EvaluatorSpec]:
    """Measurements across parts."""
    return list(EVALUATORS)
