"""What the seeds of one benchmark line say together: means, intervals, normalised gain, aggregates.

All functions are pure and take plain floats.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
"""The level of every interval shown."""

FEW_SEEDS = 10
"""Below this many seeds an interval is Student's t, from here on a bootstrap."""

LOWER_IS_BETTER = frozenset(
    {"cross_entropy", "loss", "error", "rmse", "mae", "alignment", "uniformity", "perplexity", "pseudo_perplexity"}
)
"""Metric names where less is better; of all others more is better."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a mean."""

    low: float
    high: float
    method: Literal["student-t", "bootstrap"]

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds, the number after ±."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Estimate:
    """The mean of a figure over seeds (and draws of the labels), with how sure it is."""

    mean: float
    interval: Interval | None
    """None for a single value, which says nothing of the spread."""
    values: tuple[float, ...]
    """One per seed, in the order of the seeds; a single one where seeds change nothing."""


def is_unclear(gain: Estimate | None) -> bool:
    """Whether a normalised gain says nothing, as its interval is wider than its scale from 0 to 1."""
    return gain is not None and gain.interval is not None and gain.interval.high - gain.interval.low > 1


def student_t_interval(values: Sequence[float]) -> Interval:
    """The 95 % Student-t interval of the mean of 2 to 9 values, taken as normal.

    With three seeds it is 4.3 standard errors wide on each side. That is honest: a percentile bootstrap of three values cannot
    leave their range, and holds the true mean about three times in four instead of nineteen in twenty.

    Raises:
        ValueError: there are fewer than 2 or more than 9 values.
    """
    n = len(values)
    if not 2 <= n < FEW_SEEDS:
        raise ValueError(f"a Student-t interval is made of 2 to {FEW_SEEDS - 1} values, not {n}")
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(n)
    return Interval(mean - half, mean + half, "student-t")


def bootstrap_interval(values: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """The 95 % percentile bootstrap interval of the mean (Efron 1979), the same for the same values and seed.

    Raises:
        ValueError: there are fewer than 2 values.
    """
    if len(values) < 2:
        raise ValueError(f"a bootstrap needs at least 2 values, not {len(values)}")
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(data), size=(resamples, len(data)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(data[draws].mean(axis=1), [tail, 1 - tail])
    return Interval(float(low), float(high), "bootstrap")


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval over seeds: Student's t below ten seeds, a percentile bootstrap from ten on, none for one.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("an estimate needs at least one value")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        interval = None
    elif len(values) < FEW_SEEDS:
        interval = student_t_interval(values)
    else:
        interval = bootstrap_interval(values)
    return Estimate(mean, interval, tuple(values))


def direction(metric: str) -> int:
    """1 where more of a metric (``knn.accuracy``, ``rmse``, ``label-efficiency.rmse_0.5pct``) is better, -1 where less is."""
    name = re.sub(r"_[\d.]+pct$", "", metric.split("@", 1)[0]).rpartition(".")[2]
    return -1 if name in LOWER_IS_BETTER else 1


def normalised_gain(score: float, random: float, supervised: float, *, sign: int = 1) -> float | None:
    """(score − random) / (supervised − random): 0 is the untrained network, 1 is training with all labels.

    Returns:
        The gain, which may lie outside 0..1; or None where supervised training is no better than the untrained network, since
        then there is no scale to measure on.

    Args:
        score: of the pretrained encoder.
        random: of the untrained one, same seed.
        supervised: of the one trained with labels, same seed.
        sign: 1 where more is better, -1 where less is.
    """
    span = sign * (supervised - random)
    if not span > 0:
        return None
    return sign * (score - random) / span


def paired_gains(
    scores: Sequence[float], randoms: Sequence[float], supervised: Sequence[float], *, sign: int = 1
) -> list[float] | None:
    """The normalised gain of each seed, paired with the references of that very seed; None if it is undefined for any.

    Raises:
        ValueError: the sequences differ in length, so that the seeds cannot be paired.
    """
    gains: list[float] = []
    for score, random, labels in zip(scores, randoms, supervised, strict=True):
        gain = normalised_gain(score, random, labels, sign=sign)
        if gain is None:
            return None
        gains.append(gain)
    return gains


def aggregate(gains: Mapping[str, Sequence[Sequence[float] | None]]) -> Estimate | None:
    """The gain of one method over all its data sets: each data set weighs the same in its modality, each modality the same.

    Args:
        gains: modality to one entry a data set: its gains per seed in the order of the seeds, or None where a cell is missing.

    Returns:
        Mean over modalities with the interval over seeds, or None if anything is missing or the numbers of seeds differ: an
        average over what happens to be there would favour whoever failed on the hard part.
    """
    if not gains or not all(gains.values()):
        return None
    by_modality: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    lengths: set[int] = set()
    for sets in gains.values():
        rows: list[Sequence[float]] = []
        for row in sets:
            if not row:
                return None
            rows.append(row)
            lengths.add(len(row))
        if len(lengths) > 1:
            return None
        by_modality.append(np.mean(np.asarray(rows, dtype=np.float64), axis=0))
    per_seed = np.mean(np.stack(by_modality), axis=0)
    return estimate([float(v) for v in per_seed])
