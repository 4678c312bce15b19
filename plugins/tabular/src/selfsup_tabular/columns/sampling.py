"""Samples the rows that scales and codes are learned from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from selfsup.data import Rows, arrow_table, is_frame, table_of_rows
from selfsup.errors import SourceError
from selfsup.types import Row


def sample_rows(rows: Iterable[Row] | Any, most: int, seed: int) -> pa.Table:
    """About ``most`` random rows in order, or all if there are fewer.

    Args:
        rows: :class:`~selfsup.data.Rows`, read a few megabytes at a time; dicts; or a whole table.
        most: size of the sample.
        seed: of the sample.

    Raises:
        SourceError: there are no rows.
    """
    rng = np.random.default_rng(seed)
    if isinstance(rows, Rows):
        share = most / max(len(rows), 1)
        parts = [_drawn(table, share, rng) for _, table in rows.tables()]
        table = pa.concat_tables(parts) if parts else pa.table({})
    else:
        whole = arrow_table(rows) if is_frame(rows) else table_of_rows(list(rows))
        table = _drawn(whole, most / max(whole.num_rows, 1), rng)
    if table.num_rows == 0:
        raise SourceError("There are no rows to learn the columns from.")
    return table


def _drawn(table: pa.Table, share: float, rng: np.random.Generator) -> pa.Table:
    """Each row with probability ``share``; copied, so that a mapped file can leave memory."""
    if share >= 1:
        return table
    chosen = np.flatnonzero(rng.random(table.num_rows) < share)
    return table.take(pa.array(chosen, type=pa.int64()))
