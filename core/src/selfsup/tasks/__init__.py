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
    TransformationRecipe,
    Transformed,
    Views,
    ViewsRecipe,
)
from selfsup.tasks.joint_embedding.comparison import ComparesEmbeddings
from selfsup.tasks.latent.vjepa import VJEPA_FAMILY
from selfsup.tasks.reconstruction import DENOISING_FAMILY, ReconstructionFamilyRecipe

__all__ = [
    "DENOISING_FAMILY",
    "VJEPA_FAMILY",
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
    "TransformationRecipe",
    "Transformed",
    "Views",
    "ViewsRecipe",
]
