"""The rows that scales and codes are learned from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from selfsup.data import Rows, arrow_table, is_frame, table_of_rows
from selfsup.errors import SourceError
from selfsup.types import Row


def sample_rows(rows: Iterable[Row] | Any, most: int, seed: int) -> pa.Table:
    """About ``most`` rows, drawn evenly, or all where there are no more; in their order.

    Args:
        rows: :class:`~selfsup.data.Rows`, a few megabytes in memory at a time; dicts; or a whole table.
        most: how many.
        seed: of the draw.

    Raises:
        SourceError: there is no row.
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
        raise SourceError("There is no row to learn the columns from.")
    return table


def _drawn(table: pa.Table, share: float, rng: np.random.Generator) -> pa.Table:
    """Each row with probability ``share``; copied, so that a mapped file need not stay in memory."""
    if share >= 1:
        return table
    chosen = np.flatnonzero(rng.random(table.num_rows) < share)
    return table.take(pa.array(chosen, type=pa.int64()))
