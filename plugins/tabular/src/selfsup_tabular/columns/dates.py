"""Dates as numbers: when it was, and where in the year, the week and the day."""

from __future__ import annotations

import math

import numpy as np

from selfsup_tabular.columns.values import FloatArray

DAYS_A_YEAR = 365.2425
_MONDAY = 4
"""1970-01-01 was a Thursday: day 4 is the first Monday."""


def date_parts(has_times: bool) -> tuple[str, ...]:
    """Names of the parts of a date, in the order of :func:`split_date`."""
    parts = ("time", "year_sin", "year_cos", "week_sin", "week_cos")
    return (*parts, "day_sin", "day_cos") if has_times else parts


def split_date(days: FloatArray, has_times: bool) -> list[FloatArray]:
    """The parts of points in time.

    Args:
        days: [n] days since 1970-01-01, NaN where missing.
        has_times: whether the time of day is among the parts.

    Returns:
        [n] each: the days themselves, then sine and cosine (times the square root of two: unit variance over a whole cycle) of
        the place in the year (years of 365.2425 days from January 1st 1970 on), in the week (from Monday) and, with times, in
        the day.
    """
    cycles = [days / DAYS_A_YEAR, (days - _MONDAY) / 7] + ([days] if has_times else [])
    parts = [days]
    for turns in cycles:
        angle = 2 * math.pi * turns
        parts += [math.sqrt(2) * np.sin(angle), math.sqrt(2) * np.cos(angle)]
    return parts


def has_times_of_day(days: FloatArray) -> bool:
    """Whether any point in time is not midnight."""
    known = days[np.isfinite(days)]
    return bool((np.abs(known - np.round(known)) > 1e-9).any())
