"""One process a cell on this machine, forked from a process that has torch imported already."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from selfsup.errors import BenchmarkError
from selfsup.registry import registry
from selfsup_bench.cell import work
from selfsup_bench.executors.base import Job, Outcome
from selfsup_bench.planning import target_modules

PRELOAD = ("selfsup_bench.preload",)
"""Imported once by the process that the cells are forked from: torch and what else takes seconds."""


class LocalExecutor:
    """Runs cells in processes of this machine, ``parallel`` at a time.

    Each cell is a process of its own, so that a crash or the kernel's out-of-memory killer ends that cell alone. Where the
    platform can, it is forked from a server process that has imported torch and nothing more (``forkserver``), which saves
    seconds a cell; elsewhere it is started afresh.
    """

    def __init__(
        self,
        *,
        parallel: int = 0,
        on_start: Callable[[Job], None] = lambda job: None,
        options: Mapping[str, str] | None = None,
        work: Callable[[dict[str, Any]], Any] = work,
    ) -> None:
        """Make an executor.

        Args:
            parallel: processes at a time; 0: one a CPU core that a cell's threads leave free.
            on_start: called with each job as its process starts.
            options: this executor has none of its own.
            work: what a process runs, given ``Job.as_dict()``.

        Raises:
            BenchmarkError: there are options.
        """
        if options:
            raise BenchmarkError(
                f"the local executor has no option {next(iter(options))!r}; it takes only --jobs and --threads."
            )
        self.parallel = parallel
        self.on_start = on_start
        self.work = work

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Run every job and yield how its process ended; closing the iterator ends what is still running."""
        self.context = _context(jobs)
        waiting = list(reversed(jobs))
        running: dict[int, tuple[BaseProcess, Job]] = {}
        parallel = self.parallel or max(1, cpu_count() // max((job.threads for job in jobs), default=1))
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    job = waiting.pop()
                    self.on_start(job)
                    process = self._start(job)
                    running[process.sentinel] = (process, job)
                for sentinel in set(running) & set(wait(list(running))):
                    process, job = running.pop(sentinel)
                    process.join()
                    yield Outcome(job, describe_exit(process.exitcode or 0))
                    process.close()
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join(5)
                if process.is_alive():
                    process.kill()
                    process.join()

    def _start(self, job: Job) -> BaseProcess:
        job.folder.mkdir(parents=True, exist_ok=True)
        process = self.context.Process(target=_child, args=(self.work, job.as_dict(), str(job.log)), daemon=False)
        process.start()
        return process


def cpu_count() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_exit(code: int) -> str:
    """What an exit code says to a person; empty for 0."""
    if code == 0:
        return ""
    if code > 0:
        return f"its process ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


def _context(jobs: Sequence[Job]) -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Modules that cannot be imported are passed over here; the cells that need them say so themselves.
    context.set_forkserver_preload([*PRELOAD, *target_modules(registry(), [job.cell for job in jobs])])
    return context


def _child(work: Callable[[dict[str, Any]], Any], job: dict[str, Any], log: str) -> None:
    with Path(log).open("a", encoding="utf-8") as file:
        # The file descriptors themselves, so that what C++ code says before it aborts is in the log too.
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    work(job)
