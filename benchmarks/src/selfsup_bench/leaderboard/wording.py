"""Numbers and rows in words, which the terminal, Markdown, the page and the verdicts share."""

from __future__ import annotations

from selfsup_bench.leaderboard.board import Row
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.rows import reference_name
from selfsup_bench.statistics.estimates import Estimate

PERCENT = ("accuracy", "f1", "nmi", "ari", "auroc", "map", "precision", "recall", "r@", "hit")
_TITLES = {"r2": "R²", "map": "mAP", "rmse": "RMSE", "mae": "MAE", "auroc": "AUROC"}
_OF_NUMBERS = ("r2", "rmse", "mae")
_SPOKEN = {"scratch": "training from scratch", "random-init": "the untrained network"}


def is_share(metric: str) -> bool:
    """Whether a metric is a share of 1, shown in per cent."""
    name = metric.rpartition(".")[2].lower()
    return any(word in name for word in PERCENT)


def spoken(row: Row) -> str:
    """What a sentence calls a row."""
    usual = reference_name(row.kind) if row.kind != "task" else ""
    return _SPOKEN[row.kind] + row.name.removeprefix(usual) if row.kind in _SPOKEN else row.name


def metric_name(metric: str) -> str:
    """``balanced accuracy``, ``R²``."""
    return _TITLES.get(metric, metric.replace("_", " "))


def score_text(value: float, metric: str) -> str:
    """``81.0 %``, or ``0.52`` for what is no share."""
    return f"{100 * value:.1f} %" if is_share(metric) else f"{value:.2f}"


def change_text(estimate: Estimate, metric: str) -> str:
    """``+8.9 points`` (per cent), or ``+0.12`` for what is no share."""
    return f"{100 * estimate.mean:+.1f} points" if is_share(metric) else f"{estimate.mean:+.2f}"


def interval_text(estimate: Estimate, metric: str) -> str:
    """``95 % interval 6.2 to 11.5``; empty without an interval."""
    if estimate.interval is None:
        return ""
    factor, digits = (100.0, 1) if is_share(metric) else (1.0, 2)
    low, high = (f"{factor * bound:.{digits}f}" for bound in (estimate.interval.low, estimate.interval.high))
    return f"95 % interval {low} to {high}"


def labels_count(headline: Headline, labelled: int | None = None) -> str:
    """``10 labels`` a class; of numbers all of them together: ``100 labels``; ``5 % of labels``.

    Args:
        headline: says how many a class.
        labelled: rows of a draw. None: it is not known; numbers are then taken to be drawn from ten groups.
    """
    if not headline.per_class:
        return f"{headline.amount.removesuffix('%')} % of labels"
    count = headline.per_class
    if headline.metric in _OF_NUMBERS:
        count = 10 * count if labelled is None else labelled
    return f"{count} label{'s' * (count > 1)}"


def labels_text(headline: Headline, labelled: int | None = None) -> str:
    """``With 10 labels a class``, ``With 100 labels`` of numbers, ``With 5 % of labels``, ``With all labels``.

    The arguments are those of :func:`labels_count`.
    """
    if not headline.amount:
        return "With all labels"
    each = headline.per_class and headline.metric not in _OF_NUMBERS
    return f"With {labels_count(headline, labelled)}{' a class' if each else ''}"
