"""Schedules of the learning rate and the weight decay, as pure functions of the step."""

from __future__ import annotations

import math
from typing import Literal


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from ``start`` to ``end``; ``progress`` is in 0..1 (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def learning_rate(
    step: int,
    total: int,
    *,
    peak: float,
    warmup: int = 0,
    final_fraction: float = 0.0,
    schedule: Literal["cosine", "constant"] = "cosine",
) -> float:
    """The learning rate of one optimizer step.

    Args:
        step: 0 for the first step, which with a warm-up of W steps has the rate ``peak / W``.
        total: steps of the run, warm-up included.
        peak: rate at the end of the warm-up.
        warmup: W, steps of linear rise.
        final_fraction: end of the cosine, right after the last step, as a fraction of the peak.
        schedule: after the warm-up.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    return cosine(peak, peak * final_fraction, (step - warmup) / max(total - warmup, 1))


def weight_decay(step: int, total: int, *, start: float, end: float | None) -> float:
    """The weight decay of one optimizer step: constant, or a cosine to ``end`` (DINO, Caron et al. 2021, arXiv:2104.14294)."""
    return start if end is None else cosine(start, end, step / max(total, 1))
