"""Correlations of two series of numbers; scipy's, which warns and gives NaN where a series does not vary."""

from __future__ import annotations

from torch import Tensor


def pearson(x: Tensor, y: Tensor) -> float:
    """Pearson's correlation of two [N]; 0 where one of them does not vary."""
    from scipy import stats

    return float(stats.pearsonr(x.double(), y.double()).statistic) if _vary(x, y) else 0.0


def spearman(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of two [N], ties sharing their mean rank; 0 where one of them does not vary."""
    from scipy import stats

    return float(stats.spearmanr(x.double(), y.double()).statistic) if _vary(x, y) else 0.0


def _vary(*series: Tensor) -> bool:
    return all(bool((values != values[0]).any()) for values in series)
