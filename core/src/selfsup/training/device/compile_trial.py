"""Measure whether compiling pays within a run, and take the steps of the run accordingly."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from selfsup.runtime import randomness
from selfsup.runtime.cache_folder import cache_root
from selfsup.tasks import StepOutput
from selfsup.training.loop.gradient_cache import BufferCopies
from selfsup.types import Batch

if TYPE_CHECKING:
    from selfsup.training.loop.stepper import Stepper

BACKEND = "inductor"
"""Backend of an automatic compilation."""
_PHASES = {"warm-up": 5, "uncompiled": 20, "compiling": 1, "settling": 4, "compiled": 20}
"""Steps of each part of a trial. In the warm-up kernels are chosen and memory is claimed; the first compiled step compiles, and
the settling ones compile further shapes and modes. The medians of the two timed parts are compared."""
_USUAL_SECONDS, _USUAL_GAIN = 120.0, 1.2
"""What compiling takes and how much faster a step is then, until it has been measured here for the same network."""
_LEAST_GAIN = 1.02
"""A smaller gain is undone."""
_SHORT = "it does not pay within the steps that are left"


class Undoable(Protocol):
    """What was compiled."""

    def undo(self) -> None:
        """Leave the networks as they were."""


@dataclass(frozen=True)
class Measured:
    """What compiling was measured to take and to give."""

    seconds: float
    """Of compiling."""
    gain: float
    """Seconds of a step before, over seconds of a step after."""

    def saves(self, seconds: float) -> bool:
        """Whether compiling pays for steps that take so many seconds together."""
        return self.gain >= _LEAST_GAIN and seconds * (1 - 1 / self.gain) > self.seconds


class StepClock:
    """Seconds of single steps: on a CUDA device by events, so that no step waits for the device.

    Args:
        device: what the steps run on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[tuple[Any, Any]] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time a step; one that raises is left out."""
        start = self._mark()
        yield
        self._marks.append((start, self._mark()))

    def seconds(self) -> list[float]:
        """Of each step since the last call. This waits for the device."""
        marks, self._marks = self._marks, []
        if self._device.type != "cuda":
            return [end - start for start, end in marks]
        torch.cuda.synchronize(self._device)
        return [start.elapsed_time(end) / 1000 for start, end in marks]

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own
        event.record(torch.cuda.current_stream(self._device))
        return event


class CompileTrial:
    """Times some steps, compiles if that pays within the rest of the run, and undoes it if steps are not faster then.

    Only steps are timed: neither the wait for their batches nor checks and checkpoints count. A decision is told to
    ``decided``, which keeps it; a run that goes on follows it, so that it computes what it would have. The decision is
    ``pending`` until the first compiled step is done. A run that ended before goes on uncompiled, so that a compiler that ends
    the process does so once. Where a compiled step raises during the trial, compiling is undone and the step is taken again.
    What was measured is kept in selfsup's cache for the next run of the same network on the same device.

    Args:
        compile: compiles.
        key: what the time of a step depends on.
        total_steps: of the run.
        device: of the task.
        decided: takes the decision so far as JSON values.
        known: the decision of the run that goes on; empty: none was made.
        say: shows a line to the user.
        clock: times the steps; None: a :class:`StepClock`.
    """

    def __init__(
        self,
        compile: Callable[[], Undoable],
        key: Mapping[str, Any],
        *,
        total_steps: int,
        device: torch.device,
        decided: Callable[[dict[str, Any]], None],
        known: Mapping[str, Any],
        say: Callable[[str], None],
        clock: StepClock | None = None,
    ) -> None:
        self._compile, self._key, self._total, self._decided, self._say = compile, dict(key), total_steps, decided, say
        self._file = cache_root() / "compiled" / f"{_digest(key)}.json"
        self._clock = clock or StepClock(device)
        self._compiled: Undoable | None = None
        self._place = {name: key.get(name) for name in ("device", "torch")}
        same = all(known.get(name) == value for name, value in self._place.items())
        # What was measured elsewhere says nothing here.
        self._record = dict(known) if same else {}
        self._follows = bool(self._record)
        self._phase: str | None = None if self._record else "warm-up"
        self._taken = 0
        self._before: float = self._record.get("step_seconds", 0.0)
        self._took = 0.0

    def take(self, stepper: Stepper, batch: Batch) -> None:
        """Take a step, compiled or not."""
        if self._follows:
            self._go_on(stepper.step)
        self._match(stepper.step)
        if self._phase is None:
            stepper.take(batch)
            return
        guard = None if self._compiled is None else self._guarded(stepper)
        with self._clock.step():
            stepper.take(batch, guard)
        self._taken += 1
        if self._phase is not None and self._taken == _PHASES[self._phase]:
            self._advance(stepper.step)

    def undo(self) -> None:
        """Leave the networks as they were."""
        if self._compiled is not None:
            self._compiled.undo()
            self._compiled = None

    def _go_on(self, step: int) -> None:
        """Take up the decision of the run that goes on, after ``step`` steps."""
        self._follows = False
        held = self._record
        if held.get("state") == "pending":
            self._decide_off("the run ended while it compiled")
        elif held["backend"] == "off" and held.get("reason") == _SHORT and self._total > held["total_steps"]:
            self._decide(step)

    def _match(self, step: int) -> None:
        """Be compiled in the steps that the decision says."""
        first, end = self._record.get("from_step"), self._record.get("until_step", math.inf)
        wanted = first is not None and first <= step < end
        if not wanted:
            self.undo()
        elif self._compiled is None:
            self._compiled = self._compile()
            if self._record["state"] != "judged":
                self._begin("compiling")

    def _begin(self, phase: str | None) -> None:
        self._phase, self._taken = phase, 0

    def _advance(self, step: int) -> None:
        """Close a phase after ``step`` steps of the run."""
        seconds = self._clock.seconds()
        match self._phase:
            case "warm-up":
                self._begin("uncompiled")
            case "uncompiled":
                self._before = statistics.median(seconds)
                self._begin(None)
                self._decide(step)
            case "compiling":
                self._took = sum(seconds) - self._before
                if self._record["state"] == "pending":
                    self._note(state="compiled")
                self._begin("settling")
            case "settling":
                self._took = max(self._took + sum(seconds) - len(seconds) * self._before, 0.0)
                self._begin("compiled")
            case "compiled":
                self._begin(None)
                self._judge(step, statistics.median(seconds))

    def _decide(self, step: int) -> None:
        known = self._measured()
        expected = known or Measured(_USUAL_SECONDS, _USUAL_GAIN)
        left = (self._total - step) * self._before
        self._record = {
            **self._place,
            "measured": known is not None,
            "seconds_left": round(left, 1),
            "total_steps": self._total,
            "expected": asdict(expected),
            "step_seconds": round(self._before, 6),
        }
        if expected.saves(left):
            self._note(backend=BACKEND, state="pending", from_step=step)
        else:
            self._decide_off(_SHORT)

    def _decide_off(self, reason: str) -> None:
        self._record.pop("from_step", None)
        self._note(backend="off", state="judged", reason=reason)

    def _judge(self, step: int, after: float) -> None:
        found = Measured(round(self._took, 3), round(self._before / max(after, 1e-9), 4))
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(asdict(found)))
        self._note(state="judged", found=asdict(found), **({"until_step": step} if found.gain < _LEAST_GAIN else {}))

    def _note(self, **fields: Any) -> None:
        self._record |= fields
        self._decided(dict(self._record))

    def _measured(self) -> Measured | None:
        with suppress(OSError, ValueError, TypeError):
            return Measured(**json.loads(self._file.read_text()))
        return None

    def _guarded(self, stepper: Stepper) -> Callable[[Batch], tuple[StepOutput, Tensor]]:
        """The gradient of a compiled step; if it raises, that of the same step uncompiled."""
        buffers, drawn = BufferCopies(stepper.task), randomness.get_state(stepper.generator)

        def backward(batch: Batch) -> tuple[StepOutput, Tensor]:
            try:
                return stepper.backward(batch)
            except Exception as error:
                reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            self.undo()
            stepper.optimizer.zero_grad(set_to_none=True)
            buffers.restore()
            randomness.set_state(drawn, stepper.generator)
            result = stepper.backward(batch)
            self._begin(None)
            if self._record["state"] == "pending":
                self._decide_off(reason)
            else:
                self._note(state="judged", until_step=stepper.step, reason=reason)
            self._say(f"Warning: a compiled step failed ({reason}). The run goes on uncompiled.")
            return result

        return backward


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
