"""Dates as numbers: the time, and the phase in year, week and day."""

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
    """Split points in time into parts.

    Args:
        days: [n] days since 1970-01-01, NaN if missing.
        has_times: whether to include the time of day.

    Returns:
        [n] each: the days, then sine and cosine (times the square root of two, for unit variance over a cycle) of the phase in
        the year (years of 365.2425 days from 1970-01-01), in the week (from Monday) and, with times, in the day.
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
