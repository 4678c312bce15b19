"""Cells as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import getpass
import importlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from selfsup.errors import BenchmarkError
from selfsup_bench.cells.run_cell import work
from selfsup_bench.executors.base import Job, Outcome
from selfsup_bench.executors.cluster import Tries, run_there, say, sent_values, take_retries, this_process


class SubmititExecutor:
    """Submits every cell as one Slurm job and waits for them. The folder of the benchmark must be on a shared disk."""

    def __init__(
        self,
        *,
        parallel: int = 0,
        on_start: Callable[[Job], None] = lambda job: None,
        options: Mapping[str, str] | None = None,
        poll_seconds: float = 5.0,
        say: Callable[[str], object] = say,
    ) -> None:
        """Make an executor.

        Args:
            parallel: jobs that Slurm may run at a time; 0: as many as it likes.
            on_start: called with each job when it is submitted.
            options: parameters of ``submitit.AutoExecutor`` (``timeout_min=60``, ``slurm_partition=gpu``, ``gpus_per_node=1``,
                ``mem_gb=16``); ``cluster`` chooses among ``slurm``, ``local`` and ``debug``; ``retries`` of a cell whose
                process dies (2).
            poll_seconds: time between two looks at the jobs.
            say: called with a line for people.

        Raises:
            BenchmarkError: ``retries`` is no number.
        """
        self.say = say
        self.parallel = parallel
        self.on_start = on_start
        self.options = {name: _number(value) for name, value in (options or {}).items()}
        self.retries = take_retries(self.options)
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
        first = partial(run_there, work, this_process(), {})
        handles = executor.map_array(first, [sent_values(job) for job in jobs])
        waiting = dict(zip(handles, jobs, strict=True))
        for job in jobs:
            self.on_start(job)
        tries, queue = Tries(self.retries, self.say), _queue(getattr(executor, "cluster", ""))
        try:
            while waiting:
                for handle in queue.ended(list(waiting)):
                    job = waiting.pop(handle)
                    reason, died = queue.error(handle)
                    if died and tries.again(job, reason):
                        next_try = partial(run_there, work, this_process(), {}, again=True)
                        waiting[executor.submit(next_try, sent_values(job))] = job
                    else:
                        yield tries.outcome(job, reason) if died else Outcome(job, reason)
                if waiting:
                    time.sleep(self.poll_seconds)
        finally:
            for handle in waiting:
                with suppress(subprocess.CalledProcessError, OSError):  # it ended meanwhile
                    handle.cancel()


class _Handles:
    """Asks submitit which jobs have ended."""

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """Those that have."""
        return [handle for handle in handles if handle.done()]

    def error(self, handle: Any) -> tuple[str, bool]:
        """What went wrong with a job that has ended, or an empty text; and whether its process died."""
        error = handle.exception()
        if error is None:
            return "", False
        if type(error).__name__ == "UncompletedJobError":
            return f"its job {handle.job_id} died", True
        return f"its job {handle.job_id} failed: {error}", False


class _Processes(_Handles):
    """Processes of this machine: one that has ended without a result has died, and no disk shows it late."""

    def error(self, handle: Any) -> tuple[str, bool]:
        """As above, without waiting for a result."""
        return super().error(handle) if _has_result(handle) else (f"its job {handle.job_id} died", True)


class _SlurmQueue(_Processes):
    """Asks Slurm's queue. Submitit asks the accounting, which many small clusters lack, and only every ten minutes."""

    def __init__(self) -> None:
        self.missing: Counter[str] = Counter()
        """Job to how often in a row it was in the queue no more, and had no result."""

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """Those that have a result, or have left the queue without one."""
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
        try:
            queued = set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())
        except (OSError, subprocess.SubprocessError):  # its server is busy
            return [handle for handle in handles if _has_result(handle)]
        for handle in handles:
            self.missing[handle.job_id] = 0 if handle.job_id in queued else self.missing[handle.job_id] + 1
        return [handle for handle in handles if _has_result(handle) or self.missing[handle.job_id] >= MISSED]


MISSED = 3
"""Looks at the queue after which a job without a result counts as dead: a shared disk may show its result late."""


def _queue(cluster: str) -> _Handles:
    return {"slurm": _SlurmQueue, "local": _Processes}.get(cluster, _Handles)()


def _has_result(handle: Any) -> bool:
    """Whether submitit's file with the result is there; listing the folder makes a shared disk look again."""
    path = handle.paths.result_pickle
    return path in set(path.parent.iterdir())


def _number(value: str) -> str | int:
    return int(value) if value.lstrip("-").isdigit() else value
