"""What an encoder is worth, measured: the evaluators that need no modality."""

from selfsup.evaluation.base import Evaluator, EvaluatorRecipe, Split
from selfsup.evaluation.finetuned_model import FinetunedModel

__all__ = ["Evaluator", "EvaluatorRecipe", "FinetunedModel", "Split"]
