"""What a person sees on stderr while cells run: which are running, how many are left, how long it will take."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import click

from selfsup_bench.cells.cell import Cell
from selfsup_bench.cells.lines import Line
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.records.record import Record


class Estimator:
    """Guesses the time left from the cells that are finished."""

    def __init__(self, cells: Sequence[Cell], clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.left: dict[str, int] = defaultdict(int)
        for cell in cells:
            self.left[cell.kind] += 1
        self.took: dict[str, list[float]] = defaultdict(list)

    def finished(self, cell: Cell, seconds: float) -> None:
        """A cell has ended; ``seconds`` is how long it took."""
        self.left[cell.kind] -= 1
        self.took[cell.kind].append(seconds)

    def seconds_left(self) -> float | None:
        """Seconds until the last cell ends, by the mean of each kind and by how many ran at a time; None before the first."""
        every = [seconds for took in self.took.values() for seconds in took]
        elapsed = self.clock() - self.began
        if not every or elapsed <= 0:
            return None
        # A kind without a finished cell is assumed to be as slow as the slowest kind so far.
        means = {kind: sum(took) / len(took) for kind, took in self.took.items() if took}
        work = sum(count * means.get(kind, max(means.values())) for kind, count in self.left.items())
        at_a_time = max(1.0, sum(every) / elapsed)
        return work / at_a_time


class Progress:
    """Plain lines, which read as well in a log as on a terminal."""

    def __init__(self, cells: Sequence[Cell], *, reused: int, headlines: Mapping[str, Sequence[str]], others: int = 0) -> None:
        """Start.

        Args:
            cells: to run.
            reused: how many are finished already.
            headlines: a cell's key without circumstances to the headlines that it counts for; the first is shown that it has.
            others: records in the folder that are of no cell of this plan.
        """
        self.total = len(cells)
        self.done = 0
        self.headlines = headlines
        self.estimator = Estimator(cells)
        self.began: dict[str, float] = {}
        kept = f" ({reused} more are finished already)" if reused else ""
        self.say(f"{self.total} cells to run{kept}.")
        if others:
            self.say(f"{others} records in this folder are of other code, data, options or packages. They are kept.")

    def started(self, cell: Cell) -> None:
        """A cell begins."""
        self.began[cell.name] = time.monotonic()

    def ended(self, cell: Cell, record: Record) -> None:
        """A cell has ended: one line with its score and what is left."""
        self.done += 1
        seconds = time.monotonic() - self.began.get(cell.name, time.monotonic())
        self.estimator.finished(cell, seconds)
        if record.status == "done":
            names = [Headline(text).shown(cell.kind) for text in self.headlines.get(cell.key({}), ())]
            shown = next((name for name in names if name in record.metrics), None)
            result = f"{shown} {record.metrics[shown]:.3f}" if shown is not None else "done"
        else:
            result = f"FAILED: {record.error.splitlines()[0] if record.error else 'no reason given'}"
        self.say(f"[{self.done}/{self.total}] {cell.name}  {seconds:.0f} s  {result}{self._left()}")

    def _left(self) -> str:
        seconds = self.estimator.seconds_left()
        if self.done == self.total or seconds is None:
            return ""
        return f"  · {self.total - self.done} left, about {duration(seconds)}"

    @staticmethod
    def say(line: str) -> None:
        """Print a line on stderr."""
        click.echo(line, err=True)


def headlines_of(lines: Iterable[Line]) -> dict[str, tuple[str, ...]]:
    """A cell's key without circumstances to the headlines of the benchmarks that it is a part of."""
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        for cells in line.cells.values():
            for cell in cells:
                found.setdefault(cell.key({}), {})[line.spec.headline] = None
    return {key: tuple(names) for key, names in found.items()}


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
