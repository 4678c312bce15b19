"""Where the cells of own data run, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from selfsup.registry import Registry
from selfsup_bench.executors import Executor, Job

MakeExecutor = Callable[[Callable[[Job], None]], Executor]


@dataclass(frozen=True)
class Machine:
    """Where cells run."""

    registry: Registry
    make_executor: MakeExecutor
    jobs: int
    """Cells at a time."""
    threads: int
    device: str
    """``auto``, ``cpu`` or ``gpu``."""
    kind: str
    """``cpu``, or the kind of an accelerator."""
    say: Callable[[str], None]
