"""Cells as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import getpass
import importlib
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from selfsup.errors import BenchmarkError
from selfsup.runtime import cpu_count
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
            parallel: jobs at a time; 0: as many as Slurm likes. With ``cluster=local`` 0 is one a CPU core that a cell's
                threads leave free, and one in all with ``gpus_per_node``, as every job sees the same GPUs.
            on_start: called with each job when it is submitted.
            options: parameters of ``submitit.AutoExecutor`` (``timeout_min=60``, ``slurm_partition=gpu``, ``gpus_per_node=1``,
                ``mem_gb=16``); ``cluster`` chooses among ``slurm``, ``local`` and ``debug``; ``retries`` of a cell whose
                process dies (2). Without ``timeout_min`` a job is ended after a day (submitit's own limit is 5 minutes).
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
        cluster = getattr(executor, "cluster", "")
        threads = max(job.threads for job in jobs)
        options.setdefault("cpus_per_task", threads)
        options.setdefault("name", "selfsup-benchmark")
        options.setdefault("timeout_min", TIMEOUT_MINUTES)
        if self.parallel:
            options.setdefault("slurm_array_parallelism", self.parallel)
        try:
            executor.update_parameters(**options)
        except Exception as error:
            raise BenchmarkError(f"submitit does not accept these options: {error}") from error
        work_there = partial(run_there, work, this_process(), {})
        at_once, later = list(jobs), []
        if cluster == "local":  # its processes all begin as they are submitted
            most = self.parallel or (1 if options.get("gpus_per_node") else max(1, cpu_count() // threads))
            at_once, later = at_once[:most], at_once[: most - 1 : -1]
        # One array of jobs instead of many submissions, as schedulers prefer.
        handles = executor.map_array(work_there, [sent_values(job) for job in at_once])
        waiting = dict(zip(handles, at_once, strict=True))
        for job in at_once:
            self.on_start(job)
        tries, queue = Tries(self.retries, self.say), _queue(cluster)
        try:
            while waiting:
                for handle in queue.ended(list(waiting)):
                    job = waiting.pop(handle)
                    reason, died = queue.error(handle)
                    if died and tries.again(job, reason):
                        waiting[executor.submit(work_there, sent_values(job))] = job
                        continue
                    if later:
                        following = later.pop()
                        waiting[executor.submit(work_there, sent_values(following))] = following
                        self.on_start(following)
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

    def __init__(self) -> None:
        self.results: set[Any] = set()
        """Jobs that had a result at the last look."""

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """As above."""
        ended = super().ended(handles)
        self.results = _with_result(ended)
        return ended

    def error(self, handle: Any) -> tuple[str, bool]:
        """As above, without waiting for a result."""
        return super().error(handle) if handle in self.results else (f"its job {handle.job_id} died", True)


class _SlurmQueue(_Processes):
    """Asks Slurm's queue. Submitit asks the accounting, which many small clusters lack, and only every ten minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, float] = {}
        """Job to when it was first seen to be in the queue no more."""

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """Those that have a result, or have left the queue without one."""
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
        try:
            queued = set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())
        except (OSError, subprocess.SubprocessError):  # its server is busy
            queued = {handle.job_id for handle in handles}
        self.results = _with_result(handles)
        now = time.monotonic()
        self.missing = {
            handle.job_id: self.missing.get(handle.job_id, now) for handle in handles if handle.job_id not in queued
        }
        return [
            handle
            for handle in handles
            if handle in self.results or now - self.missing.get(handle.job_id, now) >= MISSING_SECONDS
        ]


TIMEOUT_MINUTES = 24 * 60
"""Minutes after which a job is ended, unless the option ``timeout_min`` says otherwise."""
MISSING_SECONDS = 90.0
"""A job that has left the queue counts as dead after so long without a result: machines that share a disk by NFS keep the
content of a folder for up to 60 seconds before they look again."""


def _queue(cluster: str) -> _Handles:
    return {"slurm": _SlurmQueue, "local": _Processes}.get(cluster, _Handles)()


def _with_result(handles: Sequence[Any]) -> set[Any]:
    """The jobs whose result submitit has written. Listing a folder, once for all jobs, makes a shared disk look again."""
    paths = {handle: handle.paths.result_pickle for handle in handles}
    there = {folder: {path.name for path in folder.iterdir()} for folder in {path.parent for path in paths.values()}}
    return {handle for handle, path in paths.items() if path.name in there[path.parent]}


def _number(value: str) -> str | int:
    return int(value) if value.lstrip("-").isdigit() else value
