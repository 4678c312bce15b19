"""Draw class-balanced subsets and stratified folds of labelled rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfsup.data.sources.columns.labels import LabelArray, strata
from selfsup.errors import ConfigError

Int64 = np.ndarray[Any, np.dtype[np.int64]]
_FLIPS = 1
_DRAWS = 2


def balanced_subset(labels: Int64, fraction: float, *, seed: int) -> Int64:
    """Draw ``fraction`` of the rows, equally many of each class, and at least one of each.

    As the 1 % and 10 % subsets of Chen et al. 2020 (SimCLR, arXiv 2002.05709, B.5). A class with fewer rows gives all of them,
    and the other classes share the rest.

    Args:
        labels: [N] class ids.
        fraction: above 0, at most 1.
        seed: same seed, same rows. With one seed, smaller fractions are subsets of larger ones on balanced data.

    Returns:
        Indices into ``labels``, sorted.

    Raises:
        ConfigError: the fraction is out of range, or has fewer rows than there are classes.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(
            f"fraction={fraction} is not allowed: it is the share of labelled rows to use, above 0 and at most 1."
        )
    if fraction == 1:
        return np.arange(len(labels), dtype=np.int64)
    classes, sizes = np.unique(labels, return_counts=True)
    total = round(fraction * len(labels))
    if total < len(classes):
        raise ConfigError(
            f"fraction={fraction} of {len(labels)} labelled rows is {total}, and there are {len(classes)} classes: each needs "
            f"at least one labelled row. Use a fraction of at least {_round_up(len(classes) / len(labels))}, or more data."
        )
    counts = _share_out(sizes, total)
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[labels[order] == c][:count] for c, count in zip(classes, counts, strict=True)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def labelled_subset(labels: LabelArray, fraction: float, *, seed: int) -> Int64:
    """:func:`balanced_subset` for labels of any kind: numbers equally from each tenth, several classes uniformly.

    Raises:
        ConfigError: the fraction is out of range, or has fewer than two rows or fewer than there are classes.
    """
    if labels.ndim == 1 and labels.dtype.kind != "f":
        return balanced_subset(labels, fraction, seed=seed)
    total = round(fraction * len(labels))
    if 0 < fraction <= 1 and total < 2:
        raise ConfigError(
            f"fraction={fraction} of {len(labels)} labelled rows is {total}, and two are needed. Use a fraction of at least "
            f"{_round_up(2 / len(labels))}, or more data."
        )
    return balanced_subset(strata(labels, min(10, total)), fraction, seed=seed)


def few_label_rows(labels: LabelArray, per_class: int, *, draw: int, n_classes: int = 0) -> Int64:
    """Draw ``per_class`` labelled rows of each class; of numbers, of each tenth; with several classes per row, K times as many.

    Args:
        labels: [N] class ids, [N] numbers, or [N, K] of several classes, which are drawn uniformly.
        per_class: rows of each class; a class with fewer gives all of its rows.
        draw: number of the draw; for one draw, fewer rows are a subset of more.
        n_classes: K, if a row may have several classes.

    Returns:
        Indices into ``labels``, sorted.
    """
    groups = strata(labels)
    order = np.random.default_rng((draw, _DRAWS)).permutation(len(groups))
    count = per_class * max(n_classes, 1) if labels.ndim == 2 else per_class
    chosen = [order[groups[order] == group][:count] for group in np.unique(groups)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def expected_overlap(labels: LabelArray, rows: Int64) -> float:
    """Expected share of the rows of a draw that another draw from the same labels has too, 0 to 1.

    From a group of N rows that gives n (see :func:`few_label_rows`), each row is drawn with probability n / N.

    Args:
        labels: [N] class ids, [N] numbers, or [N, K] of several classes.
        rows: indices into ``labels`` of the rows that were drawn.
    """
    groups = strata(labels)
    drawn, sizes = np.bincount(groups[rows]), np.bincount(groups)[: groups[rows].max() + 1]
    return float((drawn**2 / np.maximum(sizes, 1)).sum() / len(rows))


def stratified_folds(labels: LabelArray, n_folds: int, *, seed: int) -> Int64:
    """Distribute the rows of each class (of numbers, of each tenth) over ``n_folds`` folds.

    Args:
        labels: [N] class ids, [N] numbers, or [N, K] of several classes, which are distributed uniformly.
        n_folds: number of folds.
        seed: of the order.

    Returns:
        [N] the fold of each row; -1 for the only row of a class, which is never held out.
    """
    labels = strata(labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    folds = np.full(len(labels), -1, dtype=np.int64)
    for c in np.unique(labels):
        rows = order[labels[order] == c]
        if len(rows) > 1:
            folds[rows] = np.arange(len(rows)) % n_folds
    return folds


def flipped_labels(labels: Int64, rate: float, *, seed: int) -> Int64:
    """Give the share ``rate`` of the rows, rounded, a wrong label, drawn uniformly from the other classes.

    The noisy-label setting of Bahri et al. 2021 (SCARF, arXiv:2106.15147, section 4), with a rate of 0.3.

    Args:
        labels: [N] class ids, of at least two classes.
        rate: 0 to 1.
        seed: of the rows and their new labels; for one seed, the rows of a lower rate are a subset of those of a higher one.

    Returns:
        [N], a copy.
    """
    # Not the order of :func:`balanced_subset`, which would put wrong labels first into every subset.
    generator = np.random.default_rng((seed, _FLIPS))
    rows = generator.permutation(len(labels))
    classes, place = np.unique(labels, return_inverse=True)
    other = (place + generator.integers(1, len(classes), size=len(labels))) % len(classes)
    flipped = labels.copy()
    wrong = rows[: round(rate * len(labels))]
    flipped[wrong] = classes[other[wrong]]
    return flipped


def _share_out(sizes: Int64, total: int) -> Int64:
    """Equal shares of ``total``, at most ``sizes``; the first classes get the remainder."""
    counts = np.zeros_like(sizes)
    while (left := total - int(counts.sum())) > 0:
        open_classes = np.flatnonzero(counts < sizes)
        share = left // len(open_classes)
        if share == 0:
            counts[open_classes[:left]] += 1
        else:
            counts[open_classes] = np.minimum(counts[open_classes] + share, sizes[open_classes])
    return counts


def _round_up(value: float) -> float:
    return float(np.ceil(value * 1e4) / 1e4)
