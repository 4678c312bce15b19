"""What the quick benchmarks of all modalities share."""

from __future__ import annotations

from typing import Any

EVALUATORS = ("knn", "linear", "few-labels")


def adamw(*, lr: float) -> dict[str, Any]:
    """One optimizer for all tasks of a short budget: its constants, and the whole course of rate and weight decay.

    The papers' optimizers (LARS, ...) are for schedules hundreds of times as long; in so few steps one for all is fairer.
    Clipping of the gradient stays each task's own: it guards single networks (recurrent ones) and is no part of a schedule.

    Args:
        lr: its peak learning rate.
    """
    settings = {
        "optimizer": "adamw",
        "lr": lr,
        "schedule": "cosine",
        "warmup_fraction": 0.1,
        "final_lr_fraction": 0.0,
        "weight_decay": 1e-4,
        "weight_decay_end": None,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "bias_lr_scale": 1.0,
    }
    return {f"optimization.{key}": value for key, value in settings.items()}


def one_optimizer(*, lr: float) -> dict[str, Any]:
    """:func:`adamw` for the tasks and for the supervised reference alike."""
    settings = adamw(lr=lr)
    return {**settings, **{f"supervised.{key}": value for key, value in settings.items()}}
