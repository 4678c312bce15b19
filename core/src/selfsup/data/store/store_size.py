"""Estimate the size of a store from its first rows, and refuse one that does not fit on the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selfsup.data.rows import Rows
from selfsup.errors import StorageError

ESTIMATE_ROWS = 512
_ESTIMATE_SECONDS = 5.0
"""After so many rows, or so long, it is estimated what all will take."""


@dataclass(frozen=True)
class Estimate:
    """What all rows of a source will take, as the first ones let expect."""

    nbytes: int
    """Of all samples on disk."""
    seconds: float
    """Until the last row is processed."""


class SizeWatch:
    """Estimates what a store will take while it is written.

    Args:
        rows: all of them.
        folder: where the store lies.
        most_bytes: that it may take; None: what is free.
        estimated: takes the estimate; None: nobody does.
    """

    def __init__(
        self, rows: Rows, folder: Path, most_bytes: int | None, estimated: Callable[[Estimate], object] | None
    ) -> None:
        self._rows, self._folder, self._most, self._estimated = rows, folder, most_bytes, estimated
        self._began, self._looked = time.monotonic(), False

    def look(self, done: int, nbytes: int) -> None:
        """Look at what the first rows took.

        Args:
            done: rows.
            nbytes: of their samples.

        Raises:
            StorageError: it is more than the limit, or all rows will take more than that or than the disk has.
        """
        if self._most is not None and nbytes > self._most:
            raise StorageError(self._too_large(nbytes, "at least", f"and {shown_size(self._most)} are allowed"))
        seconds = time.monotonic() - self._began
        if self._looked or (done < ESTIMATE_ROWS and seconds < _ESTIMATE_SECONDS):
            return
        self._looked = True
        share = done / len(self._rows)
        expected = Estimate(int(nbytes / share), seconds / share - seconds)
        if self._most is not None and expected.nbytes > self._most:
            raise StorageError(self._too_large(expected.nbytes, "about", f"and {shown_size(self._most)} are allowed"))
        free = shutil.disk_usage(self._folder).free + nbytes
        if expected.nbytes > free:
            limit = f"and {shown_size(free)} are free in {self._folder}"
            raise StorageError(self._too_large(expected.nbytes, "about", limit, allow=""))
        if self._estimated is not None:
            self._estimated(expected)

    def _too_large(self, nbytes: int, how: str, limit: str, allow: str = " allow more (--max-store-gb),") -> str:
        return (
            f"The processed rows of {self._rows.name} take {how} {shown_size(nbytes)}, {limit}. Decode them while training "
            f"goes on (--stream),{allow} make samples smaller (options of the processor), or let "
            "SELFSUP_CACHE name a folder on a larger disk."
        )


def shown_size(nbytes: float) -> str:
    """Bytes for people: ``12.3 GB`` (10^9 bytes), ``4.56 MB``."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.3g} MB"
