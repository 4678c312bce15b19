"""Evaluate encoders: evaluators for every modality, and what other evaluators are built from.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfsup.public_names import lazy_names

if TYPE_CHECKING:
    from selfsup.evaluation.base import Evaluator, EvaluatorRecipe, Split
    from selfsup.evaluation.checks import class_count, output_count
    from selfsup.evaluation.choose import choose_evaluators
    from selfsup.evaluation.common_options import CommonOptions
    from selfsup.evaluation.embedding.ray_data import check_ray_address, places_on_ray
    from selfsup.evaluation.evaluators.few_labels import (
        FewLabels,
        FewLabelsConfig,
        LabelDraws,
        Predict,
        few_label_metrics,
        trained_from,
    )
    from selfsup.evaluation.evaluators.finetune_config import FinetuneConfig
    from selfsup.evaluation.evaluators.knn import KNNConfig, knn_outputs
    from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
    from selfsup.evaluation.evaluators.retrieval import first_hit_ranks
    from selfsup.evaluation.finetuned_model import FinetunedModel
    from selfsup.evaluation.maths.metrics import HEADLINES, accuracy, balanced_accuracy, classification_metrics, label_metrics
    from selfsup.evaluation.record import record_of
    from selfsup.evaluation.splits import Splits, load_splits
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "selfsup.evaluation.base": ["Evaluator", "EvaluatorRecipe", "Split"],
            "selfsup.evaluation.checks": ["class_count", "output_count"],
            "selfsup.evaluation.choose": ["choose_evaluators"],
            "selfsup.evaluation.common_options": ["CommonOptions"],
            "selfsup.evaluation.embedding.ray_data": ["check_ray_address", "places_on_ray"],
            "selfsup.evaluation.evaluators.few_labels": [
                "FewLabels",
                "FewLabelsConfig",
                "LabelDraws",
                "Predict",
                "few_label_metrics",
                "trained_from",
            ],
            "selfsup.evaluation.evaluators.finetune_config": ["FinetuneConfig"],
            "selfsup.evaluation.evaluators.knn": ["KNNConfig", "knn_outputs"],
            "selfsup.evaluation.evaluators.linear": ["LinearConfig", "fit_probe"],
            "selfsup.evaluation.evaluators.retrieval": ["first_hit_ranks"],
            "selfsup.evaluation.finetuned_model": ["FinetunedModel"],
            "selfsup.evaluation.maths.metrics": [
                "HEADLINES",
                "accuracy",
                "balanced_accuracy",
                "classification_metrics",
                "label_metrics",
            ],
            "selfsup.evaluation.record": ["record_of"],
            "selfsup.evaluation.splits": ["Splits", "load_splits"],
        },
    )

__all__ = [
    "HEADLINES",
    "CommonOptions",
    "Evaluator",
    "EvaluatorRecipe",
    "FewLabels",
    "FewLabelsConfig",
    "FinetuneConfig",
    "FinetunedModel",
    "KNNConfig",
    "LabelDraws",
    "LinearConfig",
    "Predict",
    "Split",
    "Splits",
    "accuracy",
    "balanced_accuracy",
    "check_ray_address",
    "choose_evaluators",
    "class_count",
    "classification_metrics",
    "few_label_metrics",
    "first_hit_ranks",
    "fit_probe",
    "knn_outputs",
    "label_metrics",
    "load_splits",
    "output_count",
    "places_on_ray",
    "record_of",
    "trained_from",
]
