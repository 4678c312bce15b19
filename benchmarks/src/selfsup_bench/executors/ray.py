"""Cells as tasks of a Ray cluster."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from selfsup.errors import BenchmarkError
from selfsup.evaluation import check_ray_address, places_on_ray
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors.base import Job, Outcome
from selfsup_bench.executors.cluster import Tries, run_there, say, sent_values, take_retries, this_process


class RayExecutor:
    """Runs every cell as a Ray task in its own worker process. The folder of the benchmark must be on a shared disk."""

    def __init__(
        self,
        *,
        parallel: int = 0,
        on_start: Callable[[Job], None] = lambda job: None,
        options: Mapping[str, str] | None = None,
        say: Callable[[str], object] = say,
    ) -> None:
        """Make an executor.

        Args:
            parallel: tasks at a time; 0: as many as the cluster has room for.
            on_start: called with each job when it is submitted.
            options: ``address`` of the cluster (default: the one that Ray finds, else this machine), ``num_gpus`` and
                ``memory`` (bytes) of each task, ``retries`` of a cell whose process dies (2).
            say: called with a line for people.

        Raises:
            BenchmarkError: an option is unknown or is no number where one is needed.
        """
        self.parallel = parallel
        self.on_start = on_start
        self.say = say
        given = dict(options or {})
        self.retries = take_retries(given)
        self.address = given.pop("address", None)
        try:
            self.resources = {name: float(given.pop(name)) for name in ("num_gpus", "memory") if name in given}
        except ValueError as error:
            raise BenchmarkError(f"the ray executor's options num_gpus and memory are numbers: {error}") from error
        if given:
            raise BenchmarkError(
                f"the ray executor has no option {next(iter(given))!r}; it has address, num_gpus, memory and retries."
            )

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Run every job and yield how it ended; closing the iterator cancels what is still queued or running.

        Raises:
            ConfigError: there is no cluster at the address, or no machine of it has room for a cell.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no word to anyone about what is run here
        ray = importlib.import_module("ray")
        mine = not ray.is_initialized()
        if mine:
            check_ray_address(self.address or "")
        ray.init(address=self.address, ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
        try:
            yield from self._run(ray, jobs)
        finally:
            if mine:
                ray.shutdown()

    def _run(self, ray: Any, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        self._check_room(ray, jobs)
        waiting = list(reversed(jobs))
        running: dict[Any, Job] = {}
        parallel = self.parallel or len(jobs)
        tries = Tries(self.retries, self.say)
        environment = {name: value for name, value in os.environ.items() if name.startswith("SELFSUP_")}
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    job = waiting.pop()
                    # max_calls=1: the worker ends with the cell and takes its memory along. Ray's own retries have no limit
                    # where memory runs out.
                    remote = ray.remote(max_calls=1, max_retries=0, num_cpus=job.threads, **self.resources)(run_there)
                    running[remote.remote(work, this_process(), environment, sent_values(job))] = job
                    if not tries.done[job.key]:
                        self.on_start(job)
                done, _ = ray.wait(list(running), num_returns=1)
                for handle in done:
                    job = running.pop(handle)
                    error, died = _error(ray, handle)
                    if died and tries.again(job, error):
                        waiting.append(job)
                    else:
                        yield tries.outcome(job, error) if died else Outcome(job, error)
        finally:
            for handle in running:
                ray.cancel(handle, force=True)

    def _check_room(self, ray: Any, jobs: Sequence[Job]) -> None:
        """Make sure that a machine has room for each cell."""
        given = {"GPU": self.resources.get("num_gpus", 0.0), "memory": self.resources.get("memory", 0.0)}
        for threads in {job.threads for job in jobs}:
            places_on_ray(ray, "a cell", {"CPU": threads, **given}, "Set --threads, num_gpus and memory.")


def _error(ray: Any, handle: Any) -> tuple[str, bool]:
    """What went wrong with a task, or an empty text; and whether its process died."""
    try:
        ray.get(handle)
    except ray.exceptions.RayTaskError as error:
        return (
            f"its Ray task failed: {str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__}",
            False,
        )
    except ray.exceptions.RayError as error:  # there is one for each way to die
        return f"its Ray task died ({type(error).__name__})", True
    return "", False
