"""The task families: recipes that join a backbone, heads and an objective."""

from selfsup.objectives.base import Term
from selfsup.tasks.base import (
    Corrupted,
    Corruption,
    CorruptionRecipe,
    PretextTask,
    StepOutput,
    TaskFamilyRecipe,
    TaskRecipe,
    Transformation,
    Transformed,
    Views,
    ViewsRecipe,
)
from selfsup.tasks.joint_embedding.comparison import ComparesEmbeddings
from selfsup.tasks.reconstruction import ReconstructionFamilyRecipe

__all__ = [
    "ComparesEmbeddings",
    "Corrupted",
    "Corruption",
    "CorruptionRecipe",
    "PretextTask",
    "ReconstructionFamilyRecipe",
    "StepOutput",
    "TaskFamilyRecipe",
    "TaskRecipe",
    "Term",
    "Transformation",
    "Transformed",
    "Views",
    "ViewsRecipe",
]
