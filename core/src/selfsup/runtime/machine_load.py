"""Detect a machine with more busy threads than cores, and advise what to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

_AFTER_SECONDS = 10.0
"""Seconds to measure: a shorter time tells little about the load."""
_CROWDED = 1.5
"""Threads per core from which they wait for each other."""
_SERVED = 0.75
"""A run that gets a smaller share of its CPU time is slowed down by others."""


class LoadWatch:
    """Called at each logged line; warns once, by ``warn``, if a run on the CPU gets too little of it.

    Threads of an operation wait for the slowest one. With more threads than cores, each operation waits for a thread without a
    core, and a run slows down far more than its share of the machine explains.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._told = False
        self._began, self._used = time.monotonic(), time.process_time()

    def __call__(self) -> None:
        """Check the machine, if it is time."""
        seconds = time.monotonic() - self._began
        if self._told or seconds < _AFTER_SECONDS:
            return
        import torch

        used = time.process_time() - self._used
        self._began, self._used = time.monotonic(), time.process_time()
        text = describe_load(system_load(), os.cpu_count() or 1, allowed_cores(), torch.get_num_threads(), used / seconds)
        if text:
            self._told = True
            self._warn(text)


def describe_load(load: float, cores: int, allowed: float, threads: int, used: float) -> str:
    """A warning if threads wait for each other, else an empty text.

    Args:
        load: threads of all processes that want to run, averaged over a minute.
        cores: of the machine.
        allowed: cores that this process may use (affinity, quota of its container).
        threads: of torch in this process.
        used: CPU seconds of this process per second.
    """
    fewer = max(int(allowed), 1)
    if threads >= _CROWDED * allowed and threads > 1:
        return (
            f"Warning: torch computes with {threads} threads, and this process may use {allowed:g} of {cores} cores: the "
            f"threads wait for each other. Set OMP_NUM_THREADS={fewer}."
        )
    if load < _CROWDED * cores or used >= _SERVED * min(threads, allowed):
        return ""
    cure = "Set OMP_NUM_THREADS=1, so that its threads do not wait for each other, or run" if threads > 1 else "Run"
    return (
        f"Warning: this machine is busy: {load:.0f} threads want to run on {cores} cores, and this run gets "
        f"{used:.1f} of the {threads} that it computes with. {cure} fewer programs at a time."
    )


def system_load() -> float:
    """Threads that wanted to run, averaged over a minute; 0 if unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def cpu_count() -> int:
    """CPU cores that this process may use, by its affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_cores() -> float:
    """Cores that this process may use, by its affinity and by the quota of its container."""
    cores = float(cpu_count())
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cores, int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or no quota ("max")
        return cores
