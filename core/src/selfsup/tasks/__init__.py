"""The task families: recipes that join a backbone, heads and an objective."""

from selfsup.tasks.base import (
    Corrupted,
    Corruption,
    CorruptionRecipe,
    PretextTask,
    StepOutput,
    TaskRecipe,
    Term,
    Transformation,
    Transformed,
    Views,
    ViewsRecipe,
)

__all__ = [
    "Corrupted",
    "Corruption",
    "CorruptionRecipe",
    "PretextTask",
    "StepOutput",
    "TaskRecipe",
    "Term",
    "Transformation",
    "Transformed",
    "Views",
    "ViewsRecipe",
]
