"""Measure a long run from within: what its process holds and how long its steps take, from its first steps to its last."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from selfsup.training.loop.stepper import Stepper

SAMPLES = 200
_WARM = 0.05
"""Share of the run that is not looked at: caches fill, and allocators get their memory."""
_PART = 0.1
"""Share of the run that is compared: behind the warm-up, and at the end."""


@dataclass(frozen=True)
class Sample:
    """The state of a process after a step."""

    step: int
    memory: float
    """Resident, in bytes."""
    files: float
    """Open descriptors."""
    threads: float
    children: float
    """Processes that it started."""
    seconds: float
    """Of wall-clock time for a step, the median since the last sample."""
    cpu_seconds: float
    """Of CPU time for a step, the mean since the last sample."""
    cost: float
    """CPU time of a step over that of a fixed piece of work done then: a shared processor is not as fast at all times."""
    read: float
    """Bytes that a step read from files, the mean since the last sample."""
    written: float
    """Bytes that a step wrote, the mean since the last sample."""


@dataclass(frozen=True)
class Change:
    """The medians of a quantity early in a run and at its end."""

    early: float
    late: float

    @property
    def growth(self) -> float:
        """Their difference."""
        return self.late - self.early

    @property
    def ratio(self) -> float:
        """Their ratio."""
        return self.late / self.early if self.early else float(self.late == 0) or float("inf")

    def __str__(self) -> str:
        return f"{self.early:.6g} early, {self.late:.6g} late"


@contextmanager
def sampled(steps: int) -> Iterator[list[Sample]]:
    """Sample this process while a run of so many steps goes on in the block."""
    samples: list[Sample] = []
    every = max(steps // SAMPLES, 1)
    take = Stepper.take
    times: list[float] = []
    before = [time.perf_counter(), time.process_time(), *_traffic()]

    def taken(self: Stepper, batch: Any) -> None:
        take(self, batch)
        now = time.perf_counter()
        times.append(now - before[0])
        before[0] = now
        if self.step % every == 0:
            cpu, (read, written) = time.process_time(), _traffic()
            rates = [(new - old) / len(times) for new, old in zip((cpu, read, written), before[1:], strict=True)]
            samples.append(Sample(self.step, *_held(), statistics.median(times), rates[0], rates[0] / fixed_work(), *rates[1:]))
            times.clear()
            before[:] = [time.perf_counter(), time.process_time(), *_traffic()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "take", taken)
        yield samples


def changes(samples: list[Sample]) -> Mapping[str, Change]:
    """How each quantity changed from the first tenth of a run, after the warm-up, to its last tenth."""
    count = len(samples)
    early = samples[int(_WARM * count) : int((_WARM + _PART) * count)]
    late = samples[-int(_PART * count) :]
    names = [field.name for field in fields(Sample) if field.name != "step"]
    return {
        name: Change(*(statistics.median(getattr(sample, name) for sample in part) for part in (early, late))) for name in names
    }


def repeated(call: Callable[[], object], times: int) -> Mapping[str, Change]:
    """How what this process holds changes while it does something again and again."""
    samples = []
    for number in range(times):
        began = time.process_time()
        call()
        cpu = time.process_time() - began
        samples.append(Sample(number, *_held(), cpu, cpu, cpu / fixed_work(), 0, 0))
    return changes(samples)


def fixed_work() -> float:
    """Seconds of CPU time that a hundred steps of a small network take now."""
    x, weights = torch.ones(8, 8), [torch.full((8, 8), 0.1, requires_grad=True) for _ in range(2)]
    began = time.process_time()
    for _ in range(100):
        torch.autograd.grad((F.gelu(x @ weights[0]) @ weights[1]).square().mean(), weights)
    return time.process_time() - began


def _held() -> tuple[float, float, float, float]:
    """Memory, files, threads and children."""
    process = Path("/proc/self")
    memory = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files, threads = (sum(1 for _ in (process / name).iterdir()) for name in ("fd", "task"))
    return memory, files, threads, sum(_parent(each) == os.getpid() for each in Path("/proc").glob("[0-9]*"))


def _parent(process: Path) -> int | None:
    """The parent of a process, None if it has ended."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _traffic() -> tuple[float, float]:
    """Bytes that this process has read and written, of files in memory, too."""
    lines = Path("/proc/self/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return float(counts["rchar"]), float(counts["wchar"])
