"""Scaling of numbers: standard scores, or the normal scores of their ranks."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from selfsup.config import Config
from selfsup_tabular.columns.values import FloatArray

Scaling = Literal["quantile", "standard", "none"]
_LARGEST = float(np.finfo(np.float32).max)
_ROUNDING = 1e-13
"""A spread below this share of the values is one of rounding: float64 has 16 digits, and a sum of many loses some."""


class Scale(Config):
    """How one column of numbers is scaled: the line through the knots, or (x - center) / spread where there are none."""

    center: float = 0.0
    """Taken off."""
    spread: float = 1.0
    """What the rest is divided by; 1 for a column of one value."""
    at: tuple[float, ...] = ()
    """Knots: values of the column, ascending."""
    to: tuple[float, ...] = ()
    """Knots: the scaled value at each; beyond the first and the last it stays as it is there."""
    low: float = 0.0
    """Smallest finite value of the training rows, taken in the place of minus infinity and of what float32 does not hold."""
    high: float = 0.0
    """Largest finite value of the training rows, taken in the place of infinity and of what float32 does not hold."""

    def __call__(self, values: FloatArray) -> FloatArray:
        """[n] to [n]; NaN stays NaN, and all else becomes a number that float32 holds."""
        if self.at:
            scaled = np.interp(values, self.at, self.to)
            return np.where(np.isnan(values), np.nan, scaled)
        with np.errstate(over="ignore"):
            scaled = (values - self.center) / self.spread
        low, high = ((limit - self.center) / self.spread for limit in (self.low, self.high))
        result: FloatArray = np.where(np.abs(scaled) > _LARGEST, np.where(scaled > 0, high, low), scaled)
        return result


def fit_scale(values: FloatArray, scaling: Scaling, knots: int) -> Scale:
    """Learn the scaling of one column; missing and infinite values, and those that float32 does not hold, are passed over.

    ``standard`` gives zero mean and unit variance. ``quantile`` gives the normal score of the mid-rank: a value x becomes the
    normal quantile of P(X < x) + P(X = x) / 2, then brought to zero mean and unit variance over the training rows too. So a
    value that most rows share lands in the middle of the ranks it takes up, where scikit-learn's ``QuantileTransformer`` puts
    a smallest one at -5.2. Where there are more than ``knots`` distinct values, ranks between knots are interpolated.

    Args:
        values: [n] float64, NaN where missing.
        scaling: which.
        knots: most knots of the quantile scaling.
    """
    finite = values[np.abs(values) <= _LARGEST]
    if not len(finite):
        return Scale()
    limits: dict[str, Any] = {"low": float(finite.min()), "high": float(finite.max())}
    if scaling == "none":
        return Scale(**limits)
    if scaling == "standard":
        return Scale(center=float(finite.mean()), spread=_positive(float(finite.std()), finite), **limits)
    distinct, counts = np.unique(finite, return_counts=True)
    if len(distinct) == 1:
        return Scale(center=float(distinct[0]), **limits)
    ranks = (np.cumsum(counts) - counts / 2) / len(finite)
    if len(distinct) > knots:
        chosen = np.unique(np.searchsorted(ranks, np.linspace(ranks[0], ranks[-1], knots)))
        distinct, ranks = distinct[chosen], ranks[chosen]
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(rank) for rank in ranks.tolist()])
    scaled = np.interp(finite, distinct, scores)
    scores = (scores - scaled.mean()) / _positive(float(scaled.std()), scaled)
    return Scale(at=tuple(distinct.tolist()), to=tuple(scores.tolist()), **limits)


def _positive(spread: float, values: FloatArray) -> float:
    """``spread``, or 1 where it is so small beside the values that dividing by it would make noise of rounding."""
    return spread if spread > _ROUNDING * float(np.abs(values).max()) else 1.0
