"""Scaling of numbers: standard scores, or normal scores of ranks."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from selfsup.config import Config
from selfsup_tabular.columns.values import FloatArray

Scaling = Literal["quantile", "standard", "none"]
_LARGEST = float(np.finfo(np.float32).max)
_ROUNDING = 1e-13
"""A standard deviation below this share of the values is rounding error: float64 has 16 digits, and long sums lose some."""


class Scale(Config):
    """The scaling of one column: interpolation between knots, or (x - center) / spread without knots."""

    center: float = 0.0
    """Subtracted."""
    spread: float = 1.0
    """Divisor; 1 for a constant column."""
    at: tuple[float, ...] = ()
    """Knots: values of the column, ascending."""
    to: tuple[float, ...] = ()
    """Knots: the scaled value at each; constant beyond the first and the last."""
    low: float = 0.0
    """Smallest finite training value; replaces minus infinity and values below the range of float32."""
    high: float = 0.0
    """Largest finite training value; replaces infinity and values above the range of float32."""

    def __call__(self, values: FloatArray) -> FloatArray:
        """[n] to [n]; NaN stays NaN, all other results are finite in float32."""
        if self.at:
            scaled = np.interp(values, self.at, self.to)
            return np.where(np.isnan(values), np.nan, scaled)
        with np.errstate(over="ignore"):
            scaled = (values - self.center) / self.spread
        low, high = ((limit - self.center) / self.spread for limit in (self.low, self.high))
        result: FloatArray = np.where(np.abs(scaled) > _LARGEST, np.where(scaled > 0, high, low), scaled)
        return result


def fit_scale(values: FloatArray, scaling: Scaling, knots: int) -> Scale:
    """Learn the scaling of one column, from values that are finite in float32.

    ``standard`` gives zero mean and unit variance. ``quantile`` gives the normal score of the mid-rank: a value x becomes the
    normal quantile of P(X < x) + P(X = x) / 2, standardised over the training rows. So a frequent value lands in the middle of
    its ranks, while scikit-learn's ``QuantileTransformer`` puts a frequent smallest value at -5.2. With more than ``knots``
    distinct values, ranks between knots are interpolated.

    Args:
        values: [n] float64, NaN if missing.
        scaling: kind of scaling.
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
    """``spread``, or 1 if it is only rounding error of the values."""
    return spread if spread > _ROUNDING * float(np.abs(values).max()) else 1.0
