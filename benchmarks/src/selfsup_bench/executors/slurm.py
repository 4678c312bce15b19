"""Cells as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from selfsup.errors import BenchmarkError
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors.base import Job, Outcome


class SubmititExecutor:
    """Submits every cell as one Slurm job and waits for them. The folder of the benchmark must be on a shared disk."""

    def __init__(
        self,
        *,
        parallel: int = 0,
        on_start: Callable[[Job], None] = lambda job: None,
        options: Mapping[str, str] | None = None,
        poll_seconds: float = 5.0,
    ) -> None:
        """Make an executor.

        Args:
            parallel: jobs that Slurm may run at a time; 0: as many as it likes.
            on_start: called with each job when it is submitted.
            options: parameters of ``submitit.AutoExecutor`` (``timeout_min=60``, ``slurm_partition=gpu``, ``gpus_per_node=1``,
                ``mem_gb=16``); ``cluster`` chooses among ``slurm``, ``local`` and ``debug``.
            poll_seconds: time between two looks at the jobs.
        """
        self.parallel = parallel
        self.on_start = on_start
        self.options = {name: _number(value) for name, value in (options or {}).items()}
        self.poll_seconds = poll_seconds

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Run every job and yield how it ended; closing the iterator cancels what is still queued or running."""
        if not jobs:
            return
        submitit = importlib.import_module("submitit")
        options = dict(self.options)
        executor = submitit.AutoExecutor(folder=str(jobs[0].out / "slurm"), cluster=options.pop("cluster", None))
        options.setdefault("cpus_per_task", max(job.threads for job in jobs))
        options.setdefault("name", "selfsup-benchmark")
        if self.parallel:
            options.setdefault("slurm_array_parallelism", self.parallel)
        try:
            executor.update_parameters(**options)
        except Exception as error:
            raise BenchmarkError(f"submitit does not accept these options: {error}") from error
        # One array of jobs instead of many submissions, as schedulers prefer.
        handles = executor.map_array(work, [job.as_dict() for job in jobs])
        waiting = dict(zip(range(len(jobs)), zip(jobs, handles, strict=True), strict=True))
        for job in jobs:
            self.on_start(job)
        try:
            while waiting:
                for index, (job, handle) in list(waiting.items()):
                    if handle.done():
                        del waiting[index]
                        yield Outcome(job, _error(handle))
                if waiting:
                    time.sleep(self.poll_seconds)
        finally:
            for _, handle in waiting.values():
                handle.cancel()


def _error(handle: Any) -> str:
    error = handle.exception()
    return "" if error is None else f"its Slurm job {handle.job_id} failed: {error}"


def _number(value: str) -> str | int:
    return int(value) if value.lstrip("-").isdigit() else value
