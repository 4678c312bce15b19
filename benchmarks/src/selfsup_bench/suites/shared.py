"""What the quick benchmarks of all modalities share."""

from __future__ import annotations

from typing import Any

EVALUATORS = ("knn", "linear", "label-efficiency")


def one_optimizer(*, lr: float) -> dict[str, Any]:
    """AdamW for the tasks and for the supervised reference alike.

    The papers' optimizers (LARS, ...) are for schedules hundreds of times as long; in so few steps one for all is fairer.

    Args:
        lr: its peak learning rate.
    """
    settings = {"optimizer": "adamw", "lr": lr, "weight_decay": 1e-4, "warmup_fraction": 0.1}
    return {f"{who}optimization.{key}": value for who in ("", "supervised.") for key, value in settings.items()}
