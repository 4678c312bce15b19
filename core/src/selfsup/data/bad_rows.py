"""Process rows so that a failure makes a bad row with a reason and does not end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from selfsup.data.rows import spread_rows
from selfsup.data.samples import EncodedTable, Sample
from selfsup.errors import BadRowError, SelfsupError, SourceError
from selfsup.runtime.decoder_output import decoding

if TYPE_CHECKING:
    from selfsup.data.processor import Processor
    from selfsup.types import Row

T = TypeVar("T")

_PROBES = 8
"""Number of rows of a failing table that are tried one by one before the search for bad rows."""


def as_bad_row(error: Exception) -> BadRowError:
    """An error that a processor raised for one row, as a bad row with the reason.

    Raises:
        MemoryError: the memory is full, which is not the fault of the row.
        SelfsupError: another deliberate error that is not about a row (an option, a full disk).
    """
    if isinstance(error, BadRowError):
        return error
    if isinstance(error, MemoryError | SelfsupError):
        raise error
    bad = BadRowError(f"it cannot be processed ({type(error).__name__}: {str(error) or 'no reason given'})")
    bad.__cause__ = error
    return bad


def read_sample(rows: Iterable[Row], most: int, read: Callable[[Row], T], *, noun: str, choice: str) -> list[T]:
    """The results of ``read`` for at most ``most`` rows, spread over all rows (:func:`~selfsup.data.spread_rows`).

    Args:
        rows: training rows.
        most: number of rows to try.
        read: reads one row; the row is skipped if this raises.
        noun: the content of a row, for the message: ``recording``.
        choice: what depends on these rows, for the message: ``The sample rate``.

    Raises:
        SourceError: no row can be read.
    """
    found: list[T] = []
    reason, tried = "there are no rows", 0
    for row in spread_rows(rows, most):
        tried += 1
        try:
            with decoding():
                found.append(read(row))
        except Exception as error:
            reason = str(as_bad_row(error))
    if not found:
        raise SourceError(f"{choice} cannot be chosen: no readable {noun} among the {tried} rows that were tried ({reason}).")
    return found


def encode_list(processor: Processor, rows: Sequence[Row]) -> list[Sample | BadRowError]:
    """Call :meth:`Processor.encode_rows`; if it raises, go row by row, so that only faulty rows are bad."""
    try:
        return processor.encode_rows(rows)
    except Exception as error:
        bad = as_bad_row(error)
    if len(rows) == 1:
        return [bad]
    return [result for row in rows for result in encode_list(processor, [row])]


def encode_arrow(processor: Processor, table: Any) -> EncodedTable:
    """Call :meth:`Processor.encode_table`; if it raises, halve the table again and again, so that only faulty rows are bad.

    All rows are bad if none of a few rows can be processed.
    """
    try:
        return processor.encode_table(table)
    except Exception as error:
        if not len(table):
            raise
        reason = str(as_bad_row(error))
    places = np.unique(np.linspace(0, len(table) - 1, _PROBES).astype(int))
    if all(_fails(processor, table.slice(place, 1)) for place in places.tolist()):
        return EncodedTable({}, dict.fromkeys(range(len(table)), reason))
    half = len(table) // 2
    parts = [encode_arrow(processor, table.slice(0, half)), encode_arrow(processor, table.slice(half))]
    bad = {**parts[0].bad, **{half + place: text for place, text in parts[1].bad.items()}}
    known = parts[0].samples or parts[1].samples
    samples = {}
    for key, values in known.items():
        filled = [
            part.samples.get(key, np.zeros((count, *values.shape[1:]), dtype=values.dtype))
            for part, count in zip(parts, (half, len(table) - half), strict=True)
        ]
        samples[key] = np.concatenate(filled)
    return EncodedTable(samples, bad)


def _fails(processor: Processor, table: Any) -> bool:
    try:
        processor.encode_table(table)
    except Exception:
        return True
    return False
