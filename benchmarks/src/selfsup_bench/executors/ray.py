"""Cells as tasks of a Ray cluster."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from selfsup.errors import BenchmarkError
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors.base import Job, Outcome


class RayExecutor:
    """Runs every cell as a Ray task in its own worker process. The folder of the benchmark must be on a shared disk."""

    def __init__(
        self,
        *,
        parallel: int = 0,
        on_start: Callable[[Job], None] = lambda job: None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Make an executor.

        Args:
            parallel: tasks at a time; 0: as many as the cluster has room for.
            on_start: called with each job when it is submitted.
            options: ``address`` of the cluster (default: the one that Ray finds, else this machine), ``num_gpus`` and
                ``memory`` (bytes) of each task.

        Raises:
            BenchmarkError: an option is unknown or is no number where one is needed.
        """
        self.parallel = parallel
        self.on_start = on_start
        given = dict(options or {})
        self.address = given.pop("address", None)
        try:
            self.resources = {name: float(given.pop(name)) for name in ("num_gpus", "memory") if name in given}
        except ValueError as error:
            raise BenchmarkError(f"the ray executor's options num_gpus and memory are numbers: {error}") from error
        if given:
            raise BenchmarkError(f"the ray executor has no option {next(iter(given))!r}; it has address, num_gpus and memory.")

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Run every job and yield how it ended; closing the iterator cancels what is still queued or running."""
        ray = importlib.import_module("ray")
        ray.init(address=self.address, ignore_reinit_error=True, log_to_driver=False)
        waiting = list(reversed(jobs))
        running: dict[Any, Job] = {}
        parallel = self.parallel or len(jobs)
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    job = waiting.pop()
                    # max_calls=1: the worker ends with the cell and takes its memory along. No retries: a cell that died is
                    # a result.
                    remote = ray.remote(max_calls=1, max_retries=0, num_cpus=job.threads, **self.resources)(work)
                    running[remote.remote(job.as_dict())] = job
                    self.on_start(job)
                done, _ = ray.wait(list(running), num_returns=1)
                for handle in done:
                    yield Outcome(running.pop(handle), _error(ray, handle))
        finally:
            for handle in running:
                ray.cancel(handle, force=True)


def _error(ray: Any, handle: Any) -> str:
    try:
        ray.get(handle)
    except Exception as error:  # Ray has several errors for a task that died
        return f"its Ray task failed: {str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__}"
    return ""
