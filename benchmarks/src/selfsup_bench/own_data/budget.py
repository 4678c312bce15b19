"""From what pilots measured to what is run: training from scratch to convergence first, then tasks, seeds and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from selfsup_bench.own_data.schedule import References, Schedule, Speed, schedule

CONVERGED = 200
"""Optimizer steps of a training from scratch that are at least needed to converge."""
_BATCH = 128
"""Default batch size of training from scratch."""
_SHARE, _MOST = 0.3, 0.4
"""Share of the time that training from scratch may take: as a rule, and before it is cut."""
_FEWER_DRAWS = (5, 3)
"""Draws of the labels that it takes if all take too long: the first ones, which are compared in pairs."""
_LEAST_STEPS = 5
PLANNED = 0.9
"""Part of the time that is planned for: other programs may slow cells down later."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """What was measured of a network whose references several tasks share."""

    benchmarks: tuple[str, ...]
    supervised: Speed
    untrained: float
    """Seconds of a cell that trains nothing."""
    step: float
    """Seconds of a step of the training from scratch."""
    converged: int
    """Its steps to convergence."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What pilots showed, and what is to be shared out."""

    speeds: Mapping[str, Speed]
    """Benchmark to its task's speed, in the order in which they matter."""
    networks: tuple[Network, ...]
    """In the order of their first tasks."""
    draws: int
    """Of the few labels."""
    parts: int
    """Cells at most among which the draws of training from scratch are shared out."""
    jobs: int
    """Cells at a time."""


@dataclass(frozen=True)
class Decision:
    """What is run."""

    schedule: Schedule
    scratch_steps: int
    """Of each training from scratch: :data:`CONVERGED`, which means as many as it needs, or fewer where it is cut."""
    scratch_draws: int


def scratch_batch(overrides: Mapping[str, Any], rows: int) -> int:
    """Rows of a step of a training from scratch; the arguments are those of :func:`scratch_steps`."""
    return max(1, min(int(overrides.get("scratch.batch_size") or _BATCH), rows))


def scratch_steps(overrides: Mapping[str, Any], rows: int) -> int:
    """Optimizer steps of a training from scratch to convergence, as the cell takes them.

    Args:
        overrides: of a benchmark.
        rows: labelled rows of a draw.
    """
    from selfsup.evaluation import FinetuneConfig

    least = max(int(overrides.get("scratch.min_steps") or 0), CONVERGED)
    config = FinetuneConfig(epochs=overrides.get("scratch.epochs"), min_steps=least)
    return config.total_steps(math.ceil(rows / scratch_batch(overrides, rows)))


def decide(measured: Measured, seconds: float) -> Decision:
    """How to use the seconds that there are.

    Training from scratch is the reference of each task, so it comes first: to convergence, if need be with fewer draws,
    and then for fewer networks, so that their tasks are left out. It is cut only if even one network would take too long.
    """
    networks, jobs = list(measured.networks), measured.jobs
    fewer = [draws for draws in _FEWER_DRAWS if draws < measured.draws]

    def fits(draws: int, count: int, share: float) -> bool:
        return sum(draws * each.converged * each.step for each in networks[:count]) <= share * seconds * jobs

    least = fewer[-1] if fewer else measured.draws
    choices = [(draws, len(networks), _SHARE) for draws in (measured.draws, *fewer)]
    choices += [(least, count, _MOST) for count in range(len(networks), 0, -1)]
    found = next((choice for choice in choices if fits(*choice)), None)
    draws, count, _ = found or choices[-1]
    cut = 0
    if found is None:
        cut = int(_MOST * seconds * jobs / max(least * networks[0].step, 1e-9))
        cut = max(_LEAST_STEPS, min(cut, CONVERGED - 1))
    kept = networks[:count]
    names = {name for each in kept for name in each.benchmarks}
    speeds = {name: speed for name, speed in measured.speeds.items() if name in names}
    references = [_references(each, cut or each.converged, draws, min(measured.parts, draws)) for each in kept]
    return Decision(schedule(speeds, references, seconds=seconds, jobs=jobs), cut or CONVERGED, draws)


def _references(network: Network, steps: int, draws: int, parts: int) -> References:
    speed = network.supervised
    each = steps * network.step + 0.2 * speed.evaluate
    part = speed.startup + math.ceil(draws / parts) * each + speed.evaluate
    return References(network.benchmarks, speed, network.untrained, (part,) * parts)


def enough(decision: Decision) -> bool:
    """Whether tasks begin to learn, and training from scratch converges."""
    return not decision.schedule.short and decision.scratch_steps >= CONVERGED


def minutes_for(measured: Measured, wanted: Callable[[Decision], bool], *, minutes: float, spent: float) -> float:
    """Minutes with which a decision would be as wanted, found in steps of a quarter.

    Args:
        measured: what pilots showed.
        wanted: whether a decision is good enough.
        minutes: that are too few.
        spent: seconds that everything before the decision took.
    """
    for _ in range(60):
        minutes *= 1.25
        if wanted(decide(measured, max(1.0, PLANNED * (60 * minutes - spent)))):
            break
    return minutes
