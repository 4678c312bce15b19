"""Scores over seeds, draws of the labels and test rows: how sure is their mean, and how sure is a difference of two?

Seeds and draws are crossed: every seed is measured with every draw. So a score is taken as mean + seed + draw + rest, the rest
holding what seed and draw do together (a two-way random-effects model; Searle, Casella and McCulloch 1992, Variance Components,
chapter 4). Test rows are drawn, too: another test split would give another score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from selfsup_bench.statistics.estimates import CONFIDENCE, FEW_SEEDS, Estimate, Interval, estimate

Floats = np.ndarray[Any, np.dtype[np.float64]]
Source = Literal["seeds", "draws", "rows"]
RESAMPLES = 2000
_OWN = {2: 1.0, 3: 0.5}
"""Seeds to :attr:`Spread.own`, so that intervals contain the mean at least 93 times in 100, whichever source varies most."""
_ALL = 0.99
"""Draws that overlap more than this count as identical."""


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric of one row of a leaderboard."""

    values: Floats
    """[S, D]: S seeds (1 where they change nothing), D draws of the labels (1 for a metric without draws)."""
    rows: Floats | None = None
    """[S, M]: what each test row, or group of them, adds to the score, averaged over the draws; None if not known."""
    overlap: float = 0.0
    """Share of a draw's labelled rows that another draw is expected to have, too: 0 to 1."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not self.values.size:
            raise ValueError(f"scores are [seeds, draws], not {list(self.values.shape)}")

    @property
    def mean(self) -> float:
        """Over seeds and draws."""
        return float(self.values.mean())

    @property
    def per_seed(self) -> tuple[float, ...]:
        """The mean over the draws of each seed."""
        return tuple(float(value) for value in self.values.mean(axis=1))

    @property
    def inflation(self) -> float:
        """How many times the variance between the draws, divided by D, is the variance of their mean.

        Draws from a small pool have rows in common, so that they are more alike than new pools would make them. Of two draws
        that share a part r of their rows the scores correlate by about r; then it is 1 + D r / (1 - r). Nadeau and Bengio 2003
        (Inference for the Generalization Error, Machine Learning 52, section 3.1) have n / (N - n) for r / (1 - r), n of N rows
        being drawn.
        """
        count, shared = self.values.shape[1], min(self.overlap, _ALL)
        return 1 + count * shared / (1 - shared) if count > 1 else 1.0

    @property
    def one_pool(self) -> bool:
        """Whether each of several draws has all of the labelled rows, so that nothing is known of what others would give."""
        return self.values.shape[1] > 1 and self.overlap > _ALL

    def __sub__(self, other: Scores) -> Scores:
        """The paired difference: of the same seeds, draws and test rows. One of a single seed counts for each of the other's.

        Of different numbers of draws the first ones that both have are compared, and the rows are left out, as they are means
        over all draws; so are rows of different length.

        Raises:
            ValueError: the numbers of seeds differ and neither is 1.
        """
        if 1 not in (len(self.values), len(other.values)) and len(self.values) != len(other.values):
            raise ValueError(f"{len(self.values)} seeds cannot be paired with {len(other.values)}")
        one_metric = 1 in (self.values.shape[1], other.values.shape[1])
        draws = None if one_metric else min(self.values.shape[1], other.values.shape[1])
        same = self.values.shape[1] == other.values.shape[1]
        rows = None
        if same and self.rows is not None and other.rows is not None and self.rows.shape[1] == other.rows.shape[1]:
            rows = self.rows - other.rows
        return Scores(self.values[:, :draws] - other.values[:, :draws], rows, max(self.overlap, other.overlap))

    def spread(self) -> Spread | None:
        """What the variance of the mean is made of; None for a single value or a single pool, which say nothing of it."""
        seeds, draws = self.values.shape
        if seeds == draws == 1 or self.one_pool:
            return None
        plain = _crossed(self.values) if min(seeds, draws) > 1 else _one_way(self.values)
        terms = [replace(term, variance=self.inflation * term.variance) if term.source == "draws" else term for term in plain]
        if self.rows is not None and self.rows.shape[1] > 1:
            count = self.rows.shape[1]
            terms.append(Term("rows", float(self.rows.mean(axis=0).var(ddof=1)) / count, count - 1))
        return Spread(tuple(terms), floor=_floor(terms), own=_OWN.get(seeds, 0.0) if draws > 1 else 0.0)

    def estimate(self) -> Estimate:
        """The mean with its 95 % interval: Student's t below ten seeds, a bootstrap from ten on, none without a spread."""
        if self.values.shape[1] == 1 and self.rows is None:
            return estimate(self.per_seed)
        spread = self.spread()
        interval: Interval | None = None
        if spread is not None and len(self.values) >= FEW_SEEDS:
            tail = (1 - CONFIDENCE) / 2
            low, high = np.quantile(resampled([self])[:, 0], [tail, 1 - tail])
            interval = Interval(float(low), float(high), "bootstrap")
        elif spread is not None:
            half = spread.half_width()
            interval = Interval(self.mean - half, self.mean + half, "student-t")
        return Estimate(self.mean, interval, self.per_seed)

    def p_value(self) -> float | None:
        """Two-sided p-value of a mean of zero, from the same t; None where there is no interval."""
        spread = self.spread()
        return None if spread is None else spread.p_value(self.mean)


@dataclass(frozen=True)
class Term:
    """A mean square's part in the variance of a mean."""

    source: Source | Literal["rest"]
    variance: float
    """With a sign: the variance of the rest is subtracted, since those of seeds and draws both contain it."""
    df: float


@dataclass(frozen=True)
class Spread:
    """The variance of a mean, as a sum of mean squares with their degrees of freedom."""

    terms: tuple[Term, ...]
    floor: float = 0.0
    """Lower bound of the variance."""
    own: float = 0.0
    """Weight of the interval in which each part has its own t, 0 to 1; the rest is Satterthwaite's, which is too narrow where
    there are few seeds that differ little by chance."""

    @property
    def variance(self) -> float:
        """Of the mean."""
        return max(math.fsum(term.variance for term in self.terms), self.floor)

    @property
    def df(self) -> float:
        """Degrees of freedom (Satterthwaite 1946, Biometrics Bulletin 2)."""
        below = math.fsum(term.variance**2 / term.df for term in self.terms)
        return self.variance**2 / below if below > 0 else 1.0

    @property
    def largest(self) -> Source:
        """What adds most to the variance."""
        parts: dict[Source, float] = {term.source: term.variance for term in self.terms if term.source != "rest"}
        return max(parts, key=lambda source: parts[source])

    def half_width(self, level: float = CONFIDENCE) -> float:
        """Half the width of the interval of this level.

        Satterthwaite's holds the mean 90 (93) times in 100 with two (three) seeds that differ more than draws. One in which the
        half-widths of the parts are added in quadrature, each with its own t, does at least 95 times, and is wider than it need
        be. With two seeds it is taken, with three the mean of both.
        """
        tail = (1 + level) / 2
        satterthwaite = float(stdtrit(self.df, tail)) * math.sqrt(self.variance)
        return self.own * self._quadrature(tail) + (1 - self.own) * satterthwaite if self.own else satterthwaite

    def _quadrature(self, tail: float) -> float:
        rest = next(term for term in self.terms if term.source == "rest")
        squares = [
            max(term.variance + rest.variance * (term.source == "draws"), 0.0) * float(stdtrit(term.df, tail)) ** 2
            for term in self.terms
            if term.source != "rest"
        ]
        return math.sqrt(max(math.fsum(squares), -rest.variance * float(stdtrit(rest.df, tail)) ** 2))

    def p_value(self, mean: float) -> float:
        """Two-sided: one less the level of the interval that just reaches zero."""
        if mean == 0:
            return 1.0
        if self.variance == 0:
            return 0.0
        if not self.own:
            return float(2 * stdtr(self.df, -abs(mean) / math.sqrt(self.variance)))
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half_width(middle) < abs(mean) else (low, middle)
        return 1 - low


def _one_way(values: Floats) -> list[Term]:
    count = values.size
    source: Source = "seeds" if len(values) > 1 else "draws"
    return [Term(source, float(values.var(ddof=1)) / count, count - 1)]


def _crossed(values: Floats) -> list[Term]:
    """(MS seeds + MS draws - MS rest) / (S D), whose expectation is the variance of the mean."""
    seeds, draws = values.shape
    mean = values.mean()
    by_seed, by_draw = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    rest = values - mean - by_seed[:, None] - by_draw[None, :]
    squares: list[tuple[Source | Literal["rest"], float, int, int]] = [
        ("seeds", draws * float(by_seed @ by_seed), seeds - 1, 1),
        ("draws", seeds * float(by_draw @ by_draw), draws - 1, 1),
        ("rest", float((rest**2).sum()), (seeds - 1) * (draws - 1), -1),
    ]
    return [Term(source, sign * total / df / (seeds * draws), df) for source, total, df, sign in squares]


def _floor(terms: Sequence[Term]) -> float:
    """The largest mean square, with the rows' part: the three together can be less by chance, or below zero."""
    rows = math.fsum(term.variance for term in terms if term.source == "rows")
    return rows + max(abs(term.variance) for term in terms if term.source != "rows")


def resampled(scores: Sequence[Scores], *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Means of resampled seeds, draws and test rows, the same ones for all scores (Efron 1979).

    The effects of seeds and draws are resampled each for itself; what seed and draw do together is in both, so it counts twice.
    Resampled means of n values spread less than means of n new ones, with shorter tails: they are stretched by
    sqrt(n / (n - 1)) and by the ratio of Student's t to the normal quantile (Hesterberg 2015, The American Statistician 69).

    Returns:
        [resamples, number of scores].
    """
    total = np.tile([each.mean for each in scores], (resamples, 1))
    for axis in range(3):
        alike: dict[int, dict[int, Floats]] = {}
        for place, each in enumerate(scores):
            values = _effects(each, axis)
            wider = math.sqrt(each.inflation) if axis == 1 else 1.0
            alike.setdefault(len(values), {})[place] = wider * (values - values.mean())
        for count, deviations in alike.items():
            if count > 1:
                together = np.stack(list(deviations.values()), axis=1)
                total[:, list(deviations)] += _weights(count, resamples, seed, axis) @ together * _stretch(count)
    return total


def _effects(scores: Scores, axis: int) -> Floats:
    """Means by seed (0), draw (1) or test row (2); a single one where the rows are not known."""
    if axis == 2:
        return np.zeros(1) if scores.rows is None else np.asarray(scores.rows.mean(axis=0))
    return np.asarray(scores.values.mean(axis=1 - axis))


@lru_cache(maxsize=8)
def _weights(count: int, resamples: int, seed: int, axis: int) -> Floats:
    """[resamples, count]: how often each of ``count`` values is drawn, as a share."""
    drawn = np.random.default_rng((seed, axis, count)).integers(0, count, (resamples, count))
    flat = (drawn + count * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=resamples * count).reshape(resamples, count) / count


def _stretch(count: int) -> float:
    tail = (1 + CONFIDENCE) / 2
    return math.sqrt(count / (count - 1)) * float(stdtrit(count - 1, tail) / ndtri(tail))


def rank_intervals(scores: Sequence[Scores], *, sign: int = 1) -> list[tuple[int, int] | None]:
    """95 % intervals of ranks among these, by a bootstrap over seeds, draws and test rows; 1 is the best.

    None where nothing is known of the spread of one of several.
    """
    if len(scores) == 1:
        return [(1, 1)]
    if not scores or any(each.spread() is None for each in scores):
        return [None] * len(scores)
    means = sign * resampled(scores)
    ranks = 1 + (means[:, None, :] > means[:, :, None]).sum(axis=2)
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(ranks, tail, axis=0, method="lower")
    high = np.quantile(ranks, 1 - tail, axis=0, method="higher")
    return [(int(first), int(last)) for first, last in zip(low, high, strict=True)]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6); None stays, and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: dict[int, float] = {}
    largest = 0.0
    for done, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - done) * p))
        corrected[place] = largest
    return [corrected.get(place) for place in range(len(p_values))]


def stacked(members: Sequence[Mapping[str, Sequence[float]]], metric: str) -> Floats | None:
    """[members, n] of a metric's values, or None where one lacks them or they differ in number."""
    lists = [list(member.get(metric, ())) for member in members]
    if not lists or not lists[0] or len({len(values) for values in lists}) > 1:
        return None
    return np.asarray(lists, dtype=np.float64)
