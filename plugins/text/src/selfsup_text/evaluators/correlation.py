"""Correlations of two series; scipy's, but 0 instead of a warning and NaN for a constant series."""

from __future__ import annotations

from torch import Tensor


def pearson(x: Tensor, y: Tensor) -> float:
    """Pearson's correlation of two [N]; 0 if one is constant."""
    from scipy import stats

    return float(stats.pearsonr(x.double(), y.double()).statistic) if _vary(x, y) else 0.0


def spearman(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of two [N] with mean ranks for ties; 0 if one is constant."""
    from scipy import stats

    return float(stats.spearmanr(x.double(), y.double()).statistic) if _vary(x, y) else 0.0


def _vary(*series: Tensor) -> bool:
    return all(bool((values != values[0]).any()) for values in series)
