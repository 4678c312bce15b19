"""What the quick benchmarks of all modalities share."""

from __future__ import annotations

from typing import Any

EVALUATORS = ("knn", "linear", "label-efficiency")


def adamw(*, lr: float) -> dict[str, Any]:
    """One optimizer for all tasks of a short budget.

    The papers' optimizers (LARS, ...) are for schedules hundreds of times as long; in so few steps one for all is fairer.

    Args:
        lr: its peak learning rate.
    """
    settings = {"optimizer": "adamw", "lr": lr, "weight_decay": 1e-4, "warmup_fraction": 0.1}
    return {f"optimization.{key}": value for key, value in settings.items()}


def one_optimizer(*, lr: float) -> dict[str, Any]:
    """:func:`adamw` for the tasks and for the supervised reference alike."""
    settings = adamw(lr=lr)
    return {**settings, **{f"supervised.{key}": value for key, value in settings.items()}}
