"""How near a training comes to its device's peak, and where the time of a step goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from selfsup.tasks.base import InputChange
from selfsup.training.loop.stepper import Stepper
from selfsup.training.loop.trainer import Trainer
from speed.measure import Stretches, wait

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes a method of a method."""

PARTS = ("waiting for input", "views", "forward", "backward", "optimizer")
"""What the time of a step is divided into."""


def peak(device: str) -> float:
    """Operations a second of a large matrix product in bfloat16, median of ten."""
    size = 8192 if device == "cuda" else 512
    first, second = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    took: list[float] = []
    for _ in range(13):
        wait(device)
        began = time.perf_counter()
        first @ second
        wait(device)
        took.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(took[3:])


@contextmanager
def counted_operations() -> Iterator[list[int]]:
    """Count the operations of matrix products, convolutions and attention in each step (forward and backward).

    Compiled parts hide theirs, so that the run must not compile. Yields a list that each step of a run adds to.
    """
    counts: list[int] = []

    def wrapped(take: Callable[..., Any]) -> Callable[..., Any]:
        def counting(self: Stepper, batch: Any) -> Any:
            with FlopCounterMode(display=False) as counter:
                result = take(self, batch)
            counts.append(counter.get_total_flops())
            return result

        return counting

    with replaced(Stepper, "backward", wrapped):
        yield counts


class Profile:
    """Seconds of the parts of a step, each waited for, so that the sum is more than a step takes without.

    Logging, checks and checkpoints are in none of them.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._steps: list[dict[str, float]] = []
        self._now: dict[str, float] = {}
        self._waited = 0.0
        self._views = 0.0

    def shares(self) -> dict[str, float]:
        """Milliseconds of each part, median of the later half of the steps."""
        later = self._steps[len(self._steps) // 2 :]
        return {part: round(1000 * statistics.median(step[part] for step in later), 3) for part in PARTS} if later else {}

    @contextmanager
    def measuring(self) -> Iterator[Profile]:
        """Measure the steps of a run in this process."""
        started: dict[int, float] = {}

        def before(module: Any, _: Any) -> None:
            if isinstance(module, InputChange):
                started[id(module)] = self._clock()

        def after(module: Any, _: Any, __: Any) -> None:
            if isinstance(module, InputChange) and id(module) in started:
                self._views += self._clock() - started.pop(id(module))

        handles = [register_module_forward_pre_hook(before), register_module_forward_hook(after)]
        places: list[tuple[type, str, Wrapper]] = [
            (Trainer, "_given", self._giving),
            (Stepper, "take", self._taking),
            (Stepper, "backward", self._timed("both")),
            (Stepper, "_forward", self._timed("forward")),
        ]
        try:
            with ExitStack() as stack:
                for owner, name, wrapper in places:
                    stack.enter_context(replaced(owner, name, wrapper))
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def _clock(self) -> float:
        wait(self._device)
        return time.perf_counter()

    def _giving(self, given: Callable[..., Any]) -> Callable[..., Any]:
        """Time what a trainer waits for each batch."""

        def timing(*args: Any) -> Iterator[Any]:
            batches = given(*args)
            while True:
                began = self._clock()
                batch = next(batches, None)
                self._waited = self._clock() - began
                if batch is None:
                    return
                yield batch

        return timing

    def _timed(self, name: str) -> Wrapper:
        def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
            def timing(stepper: Stepper, *args: Any) -> Any:
                began = self._clock()
                result = function(stepper, *args)
                self._now[name] = self._now.get(name, 0.0) + self._clock() - began
                return result

            return timing

        return wrapped

    def _taking(self, take: Callable[..., Any]) -> Callable[..., Any]:
        def timing(stepper: Stepper, *args: Any) -> Any:
            began = self._clock()
            self._now, self._views = {}, 0.0
            result = take(stepper, *args)
            ended = self._clock()
            both, forward = self._now["both"], self._now["forward"]
            self._steps.append(
                {
                    "waiting for input": self._waited,
                    "views": self._views,
                    "forward": forward - self._views,
                    "backward": both - forward,
                    "optimizer": ended - began - both,
                }
            )
            return result

        return timing


@contextmanager
def replaced(owner: type, name: str, wrapper: Wrapper) -> Iterator[None]:
    """Put a wrapper around a method of a class."""
    own = getattr(owner, name)
    setattr(owner, name, wrapper(own))
    try:
        yield
    finally:
        setattr(owner, name, own)


@contextmanager
def timing(stretches: Stretches) -> Iterator[list[float]]:
    """Time the steps of a run in this process. Yields a list that the seconds of the first step are put into."""
    first: list[float] = []

    def wrapper(take: Callable[..., Any]) -> Callable[..., Any]:
        def taking(stepper: Stepper, *args: Any) -> None:
            began = time.perf_counter()
            take(stepper, *args)
            if not first:
                wait(stepper.fabric.device.type)
                first.append(time.perf_counter() - began)
            stretches.ended(stepper.step)

        return taking

    with replaced(Stepper, "take", wrapper):
        yield first
