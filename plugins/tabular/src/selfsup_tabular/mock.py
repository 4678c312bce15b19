"""Synthetic rows in which every column is related to the others."""

from __future__ import annotations

import datetime

import numpy as np

from selfsup.types import Row

_KINDS = ("north", "east", "south")
_FIRST_DAY = datetime.date(2020, 1, 1)


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` rows without labels, of three hidden kinds.

    Five numbers lie on a line that depends on the kind, two categories equal it nine times out of ten, a third category is the
    sign of a number, the date grows with a number, and one column of each sort has missing values.
    """
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for index in range(n):
        kind = index % 3
        along = float(rng.normal())
        noise = rng.normal(scale=0.3, size=5).tolist()
        numbers = [along * (1 + (kind + place) % 3) + 2.0 * ((kind * place) % 3) + noise[place] for place in range(5)]
        region = _KINDS[kind if rng.random() < 0.9 else int(rng.integers(3))]
        size = ("small", "medium", "large")[(kind + 1) % 3 if rng.random() < 0.9 else int(rng.integers(3))]
        rows.append(
            {
                "a": numbers[0],
                "b": None if rng.random() < 0.1 else numbers[1],
                "c": numbers[2],
                "d": numbers[3],
                "count": round(10 * numbers[4]),
                "region": region,
                "size": None if rng.random() < 0.1 else size,
                "positive": along > 0,
                "day": _FIRST_DAY + datetime.timedelta(days=round(200 + 60 * along + 30 * kind)),
            }
        )
    return rows
