"""What an encoder is worth, measured: the evaluators that need no modality."""

from selfsup.evaluation.base import Evaluator, EvaluatorRecipe, Split
from selfsup.evaluation.classifier import Classifier

__all__ = ["Classifier", "Evaluator", "EvaluatorRecipe", "Split"]
