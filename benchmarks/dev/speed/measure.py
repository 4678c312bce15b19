"""Measuring two programs against each other."""

from __future__ import annotations

import importlib
import itertools
import operator
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any, Literal

from selfsup.errors import BenchmarkError

Comparison = Literal[">=", "<="]
_COMPARE: dict[Comparison, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Settings:
    """Options of ``python -m speed``."""

    repeats: int = 5
    """Measurements of each side."""
    data: str = ""
    """Source of the real rows that are trained on; empty: the figure's own."""
    rows: int = 0
    """Rows of the larger file whose memory is measured; 0: the figure's own."""
    steps: int = 0
    """Optimizer steps of a measurement; 0: the figure's own."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    compile: str = ""
    """Backend of ``torch.compile`` on our side; empty: off, and on a GPU inductor as well."""
    profile: bool = False
    """Say where the time of a step goes."""
    alone: bool = False
    """Leave the other side out."""

    @property
    def small(self) -> bool:
        """Whether networks and data are small enough for a CPU."""
        return self.device == "cpu"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: what was measured, of both sides, and its goal."""

    name: str
    what: str
    ours: float
    """Median of our side."""
    theirs: float | None
    """Median of the other side; None where the figure is absolute."""
    unit: str
    """Of both sides."""
    value: float
    """The ratio, or our side's amount where that has the goal."""
    compare: Comparison
    goal: float
    spread: str = ""
    """Range of the single measurements of both sides."""
    note: str = ""
    goal_of_ours: bool = False
    """The goal is one of our side's amount, although there is another side."""

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        return _COMPARE[self.compare](self.value, self.goal)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "reached": self.reached}


def amount(value: float) -> str:
    """A number with four digits that count."""
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:g}"


def wait(device: str) -> None:
    """For the work that was given to a device."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str) -> float:
    """What some work takes on an idle device: on a GPU between two of its events, else by the clock."""
    import torch

    from selfsup.training.device.compile_trial import StepClock

    wait(device)
    clock = StepClock(torch.device(device))
    with clock.step():
        work()
    return clock.seconds()[0]


class Stretches:
    """Samples a second of a training: the median of stretches of a twelfth of its steps, measured alike on both sides.

    The first third is left out. The time of a stretch is all of it, the wait for batches too, until the device has done its
    work. Within a stretch nothing waits for the device.

    Args:
        device: ``cpu`` or ``cuda``.
        steps: of the training.
        batch: samples of a step.
    """

    def __init__(self, device: str, *, steps: int, batch: int) -> None:
        self._device, self._batch, self._every = device, batch, max(steps // 12, 1)
        self._ends: list[float] = []

    def ended(self, step: int) -> None:
        """Note the end of a step, counted from 1."""
        if step % self._every == 0:
            wait(self._device)
            self._ends.append(time.perf_counter())

    def rate(self) -> float:
        """Samples a second."""
        later = self._ends[min(len(self._ends) // 3, len(self._ends) - 2) :]
        took = [end - start for start, end in itertools.pairwise(later)]
        return self._every * self._batch / statistics.median(took)


def in_turn(ours: Callable[[], float], theirs: Callable[[], float], *, repeats: int) -> tuple[list[float], list[float]]:
    """Call both sides in turn, who begins changing each time, so that a slow minute of the machine hits both alike."""
    mine: list[float] = []
    other: list[float] = []
    for i in range(repeats):
        for side, into in ((ours, mine), (theirs, other)) if i % 2 == 0 else ((theirs, other), (ours, mine)):
            into.append(side())
    return mine, other


def ratio_figure(
    name: str,
    what: str,
    ours: list[float],
    theirs: list[float],
    *,
    unit: str,
    compare: Comparison,
    goal: float,
    note: str = "",
) -> Figure:
    """A figure of measurements of both sides: the ratio of their medians, ours over theirs."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    spread = " against ".join(f"{amount(min(side))} to {amount(max(side))}" for side in (ours, theirs))
    return Figure(
        name=name,
        what=what,
        ours=mine,
        theirs=other,
        unit=unit,
        value=mine / other,
        compare=compare,
        goal=goal,
        spread=spread,
        note=note,
    )


def peer(module: str, distribution: str = "") -> ModuleType:
    """Import a program that we are compared with.

    Raises:
        BenchmarkError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = distribution or module.partition(".")[0]
        raise BenchmarkError(
            f"this figure compares with {name}, which cannot be imported ({error}). Install it: pip install {name}; or choose "
            "other figures with --only."
        ) from error
