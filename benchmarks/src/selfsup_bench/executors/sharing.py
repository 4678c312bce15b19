"""How many cells fit on a device at a time: by its memory, which the first cell of each kind measures, and by CPU cores."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from selfsup_bench.cells.cell import Cell
from selfsup_bench.executors.base import Job

MARGIN = 0.1
"""Share of the memory that is left free: the allocator's blocks do not fit each other without gaps."""
FIRST_GUESS = 8
"""Share of the memory that a cell is assumed to need before any has been measured."""
OF_OTHERS = 2.0
"""A cell of an unmeasured kind is assumed to need this many times the memory of the largest measured kind."""


def kind_of(cell: Cell) -> str:
    """What decides how much memory a cell takes: all of it but the seed and which labels it draws."""
    drawn = ("evaluators.few-labels.draws", "evaluators.few-labels.first_draw")
    overrides = {key: value for key, value in cell.overrides.items() if key not in drawn}
    return json.dumps(replace(cell, seed=0, overrides=overrides).as_dict(), sort_keys=True, default=str)


@dataclass
class Room:
    """The memory of a device, and what cells take of it."""

    capacity: int | None = None
    """Bytes for cells; None where there is no limit but the number of cells."""
    measured: dict[str, int] = field(default_factory=dict)
    """Kind of cell to bytes at its peak."""

    def need(self, job: Job) -> int:
        """Bytes that a cell is expected to take."""
        known = self.measured.get(kind_of(job.cell))
        if known is not None:
            return known
        if self.measured:
            return int(OF_OTHERS * max(self.measured.values()))
        return (self.capacity or 0) // FIRST_GUESS

    def fits(self, job: Job, running: Collection[Job]) -> bool:
        """Whether a cell can begin beside those that are running; it always can where none is.

        The first cell of a kind is measured before the second one begins.
        """
        if self.capacity is None or not running:
            return True
        kind = kind_of(job.cell)
        if kind not in self.measured and any(kind_of(other.cell) == kind for other in running):
            return False
        return sum(map(self.need, (job, *running))) <= (1 - MARGIN) * self.capacity

    def ended(self, job: Job, peak: int) -> None:
        """Keep what a cell took at its peak."""
        kind = kind_of(job.cell)
        self.measured[kind] = max(peak, self.measured.get(kind, 0))

    def overflowed(self, job: Job) -> None:
        """A cell ran out of memory beside others: take it to need twice as much as was thought."""
        self.measured[kind_of(job.cell)] = 2 * self.need(job)
