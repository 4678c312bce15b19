"""Processes of this machine, forked from one that has torch imported already; on a GPU as many as fit share it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

import click

from selfsup.errors import BenchmarkError
from selfsup.registry import registry
from selfsup.runtime import can_fork, cpu_count, fork_server
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors.base import Job, Outcome
from selfsup_bench.executors.sharing import Room
from selfsup_bench.executors.workers import CudaGauge, Gauge, Ready, Work, Worker
from selfsup_bench.planning.make_plan import target_modules

PRELOAD = (
    "datasets",
    "selfsup.evaluation.evaluate",
    "selfsup.training.run.process",
    "selfsup_bench.cells.measure",
    "sklearn.manifold",
)
"""Imported once by the process that the cells are forked from: torch and what else takes seconds, and what every cell needs.

None of them starts a thread or touches a device."""


def _say(line: str) -> None:
    click.echo(line, err=True)


class LocalExecutor:
    """Runs cells in processes of this machine, several at a time.

    On the CPU each cell is a process of its own. Where the platform can, it is forked from a server process that has imported
    torch and nothing more (``forkserver``), which saves seconds a cell; elsewhere it is started afresh. On a GPU, whose
    start-up cannot be forked, a process runs cell after cell, and as many share the GPU as fit into its memory
    (:mod:`selfsup_bench.executors.sharing`).

    A crash or the kernel's out-of-memory killer ends one cell alone. A cell that ran out of memory beside others is run again
    by itself, once. All processes end when this one does, even if it is killed.
    """

    def __init__(
        self,
        *,
        parallel: int = 0,
        on_start: Callable[[Job], None] = lambda job: None,
        options: Mapping[str, str] | None = None,
        work: Work = work,
        gauge: Gauge | None = None,
        say: Callable[[str], None] = _say,
    ) -> None:
        """Make an executor.

        Args:
            parallel: cells at a time, regardless of memory; 0: one a CPU core that a cell's threads leave free, and on a
                GPU no more than fit.
            on_start: called with each job as it begins.
            options: this executor has none.
            work: what a process does with a job.
            gauge: measures the memory of a device that cells share; None: of the GPU, if they run on it.
            say: called with a line for people.

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
        self.gauge = gauge
        self.say = say

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Run every job and yield how it ended; closing the iterator ends what is still running."""
        yield from _Run(self, jobs).outcomes()


class _Run:
    """One run of an executor."""

    def __init__(self, executor: LocalExecutor, jobs: Sequence[Job]) -> None:
        self.executor = executor
        gauge = executor.gauge
        if gauge is None and any(_on_gpu(job.device) for job in jobs):
            gauge = CudaGauge()
        self.gauge = gauge
        threads = max((job.threads for job in jobs), default=1)
        self.most = executor.parallel or max(1, cpu_count() // threads)
        self.context = _context(jobs)
        self.room = Room()
        self.waiting = list(jobs)
        self.alone: list[Job] = []
        """Jobs that ran out of memory beside others."""
        self.tried: set[str] = set()
        self.workers: list[Worker] = []
        self.leaving: list[Worker] = []
        """Processes that have nothing more to do, and are about to end."""

    def outcomes(self) -> Generator[Outcome, None, None]:
        try:
            while self.waiting or self.alone or self.busy():
                self._hand_out()
                handles: dict[Any, Worker] = {}
                for worker in self.workers:
                    handles |= {worker.connection: worker, worker.process.sentinel: worker}
                for worker in {id(handles[handle]): handles[handle] for handle in wait(list(handles))}.values():
                    outcome = self._hear(worker)
                    if outcome is not None:
                        yield outcome
        finally:
            for worker in self.workers:
                if worker.job is not None or not worker.ready:
                    worker.stop()
            for worker in (*self.workers, *self.leaving):
                worker.close()

    def busy(self) -> list[Worker]:
        """Workers that run a job."""
        return [worker for worker in self.workers if worker.job is not None]

    def _hand_out(self) -> None:
        """Give jobs to workers, as many as fit."""
        for worker in [worker for worker in self.leaving if not worker.process.is_alive()]:
            self.leaving.remove(worker)
            worker.close()
        if self.gauge is not None:
            while len(self.workers) < min(self.most, len(self.waiting) + len(self.alone) + len(self.busy())):
                self.workers.append(Worker(self.context, self.executor.work, self.gauge, once=False))
        while (job := self._next()) is not None:
            if self.gauge is None:
                worker = Worker(self.context, self.executor.work, Gauge(), once=True)
                self.workers.append(worker)
            else:
                idle = [worker for worker in self.workers if worker.ready and worker.job is None]
                if not idle:
                    return
                worker = idle[0]
            (self.alone if job in self.alone else self.waiting).remove(job)
            others = self.busy()
            for other in others:
                other.shared = True
            self.executor.on_start(job)
            worker.begin(job, shared=bool(others))

    def _next(self) -> Job | None:
        """The job that can begin now."""
        running = [worker.job for worker in self.busy() if worker.job is not None]
        if len(running) >= self.most or any(job.key in self.tried for job in running):
            return None
        for job in self.waiting:
            if self.executor.parallel or self.room.fits(job, running):
                return job
        return self.alone[0] if self.alone and not running else None

    def _hear(self, worker: Worker) -> Outcome | None:
        said = worker.message()
        if isinstance(said, Ready):
            worker.ready = True
            if said.free is not None and self.room.capacity is None and self.gauge is not None:
                others = min(self.most, len(self.waiting)) - 1
                self.room.capacity = max(0, said.free - others * self.gauge.context)
            return None
        job, worker.job = worker.job, None
        if said is None:
            self.workers.remove(worker)
            error = describe_exit(code := worker.exit_code())
            if job is None:
                if not worker.ready:
                    raise BenchmarkError(
                        f"A process for the cells could not be started: {error or 'it ended at once'}. "
                        "Try --jobs 1, or --device cpu."
                    )
                return None
            if code == -getattr(signal, "SIGKILL", 9) and self._again(job, worker, error):
                return None
            return Outcome(job, error)
        assert job is not None
        if worker.once or said.how != "done":
            self.workers.remove(worker)
            self.leaving.append(worker)
        if said.how == "out-of-memory" and self._again(job, worker, "it ran out of memory"):
            return None
        if said.peak is not None:
            self.room.ended(job, said.peak)
        return Outcome(job)

    def _again(self, job: Job, worker: Worker, reason: str) -> bool:
        """Whether a job that lacked memory is tried once more, alone."""
        if not worker.shared or job.key in self.tried:
            return False
        self.tried.add(job.key)
        self.alone.append(job)
        self.room.overflowed(job)
        self.executor.say(f"{job.cell.name}: {reason}, beside other cells. It is run again alone.")
        return True


def _on_gpu(device: str) -> bool:
    if device == "cpu":
        return False
    import torch

    return torch.cuda.is_available()


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


def warm_up(modules: Iterable[str]) -> None:
    """Start the process that cells are forked from, which imports for seconds while the caller does something else.

    Args:
        modules: that cells will import, beside what all do.
    """
    if can_fork():
        from multiprocessing import forkserver

        fork_server([*PRELOAD, *modules])
        forkserver.ensure_running()


def _context(jobs: Sequence[Job]) -> ForkServerContext | SpawnContext:
    if not can_fork():
        return multiprocessing.get_context("spawn")
    # Modules that cannot be imported are passed over; the cells that need them say so themselves.
    return fork_server([*PRELOAD, *target_modules(registry(), [job.cell for job in jobs])])
