"""From measured speeds to a schedule: which tasks, how many steps and seeds fit the time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

ROUNDS, MOST_ROUNDS = 3, 5
"""Seeds that are planned with, and the most that are run where time is left."""
ENOUGH_STEPS = 100
"""With fewer steps a task has hardly begun to learn: then seeds are dropped first, and tasks next."""
MOST_EPOCHS = 400
"""Passes over the rows from which on more time is not used."""
LEAST_STEPS = 5
"""What is run however short the time is."""


@dataclass(frozen=True)
class Speed:
    """What a pilot measured of a task's cell."""

    startup: float
    """Seconds before the first step and after the last."""
    evaluate: float
    """Seconds of the evaluation."""
    step: float
    """Seconds of an optimizer step."""
    epoch: float
    """Steps of a pass over the rows."""


@dataclass(frozen=True)
class References:
    """What was measured of the references of one network."""

    benchmarks: tuple[str, ...]
    """Those that are compared with them."""
    supervised: Speed
    untrained: float
    """Seconds of a cell that trains nothing."""
    scratch: tuple[float, ...]
    """Seconds of each cell that trains from scratch."""


@dataclass(frozen=True)
class Schedule:
    """What is run."""

    steps: Mapping[str, int]
    """Benchmark to the steps of its task; benchmarks that are not in it are left out."""
    supervised: Mapping[str, int]
    """Benchmark to the steps of its supervised reference."""
    rounds: int
    """Seeds that are planned."""
    first: float
    """Seconds that the first seed is expected to take, with the references that all seeds share."""
    later: float
    """Seconds of each further seed."""
    short: bool
    """Whether tasks get fewer steps than :data:`ENOUGH_STEPS`."""

    @property
    def seconds(self) -> float:
        """That all of it is expected to take."""
        return self.first + (self.rounds - 1) * self.later

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        return cls(**values)


def makespan(durations: Sequence[float], jobs: int) -> float:
    """Seconds until the last of some cells ends, each started as soon as a place is free, in the order given."""
    places = [0.0] * max(1, jobs)
    for duration in durations:
        heapq.heapreplace(places, places[0] + duration)
    return max(places)


def schedule(tasks: Mapping[str, Speed], references: Sequence[References], *, seconds: float, jobs: int) -> Schedule:
    """How to use the time: each task trains for the same time, so that a slow one takes fewer steps.

    Args:
        tasks: benchmark to what was measured of it, in the order in which they matter.
        references: of each network.
        seconds: that are left.
        jobs: cells at a time.
    """
    names = list(tasks)
    # Rather fewer seeds, then fewer tasks, than tasks that have learned nothing; one seed says nothing of how much they differ.
    attempts = [(count, rounds) for count in range(len(names), 0, -1) for rounds in (ROUNDS, 2)]
    attempts += [(min(2, len(names)), 1), (1, 1)]
    best: Schedule | None = None
    for count, rounds in attempts:
        found = _fit({name: tasks[name] for name in names[:count]}, references, seconds, jobs, rounds)
        if best is None or not found.short:
            best = found
        if not best.short:
            return best
    # Nothing fits: the first two tasks once, as long as there is time.
    return _fit({name: tasks[name] for name in names[:2]}, references, seconds, jobs, 1)


def _fit(tasks: Mapping[str, Speed], references: Sequence[References], seconds: float, jobs: int, rounds: int) -> Schedule:
    used = [each for each in references if any(name in tasks for name in each.benchmarks)]

    def of(train: float) -> Schedule:
        steps = {name: _steps(speed, train) for name, speed in tasks.items()}
        labels = [_steps(each.supervised, train) for each in used]
        # In the order in which they run: the parts of training from scratch have the seeds 0, 1, ..., so that the first one
        # runs with the first seed's references, and the others after its tasks.
        untrained = [each.untrained for each in used]
        trained = [_cell(each.supervised, count) for each, count in zip(used, labels, strict=True)]
        trained += [_cell(tasks[name], steps[name]) for name in tasks]
        parts = [part for each in used for part in each.scratch[:1]], [part for each in used for part in each.scratch[1:]]
        first = makespan([*untrained, *parts[0], *trained, *parts[1]], jobs)
        later = makespan([*untrained, *trained], jobs)
        short = any(steps[name] < min(ENOUGH_STEPS, math.ceil(MOST_EPOCHS * speed.epoch)) for name, speed in tasks.items())
        supervised = {
            name: count for each, count in zip(used, labels, strict=True) for name in each.benchmarks if name in tasks
        }
        return Schedule(steps, supervised, rounds, first, later, short)

    return _largest(of, seconds)


def _largest(of: Callable[[float], Schedule], seconds: float) -> Schedule:
    """The schedule with the most training whose expected time is at most ``seconds``."""
    low, high = 0.0, seconds
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if of(middle).seconds <= seconds else (low, middle)
    return of(low)


def _steps(speed: Speed, train: float) -> int:
    most = max(LEAST_STEPS, math.ceil(MOST_EPOCHS * speed.epoch))
    return max(LEAST_STEPS, min(int(train / max(speed.step, 1e-6)), most))


def _cell(speed: Speed, steps: int) -> float:
    return speed.startup + steps * speed.step + speed.evaluate
