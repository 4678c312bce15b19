"""What the executors of clusters share: how a cell runs on another machine, and how often one is tried again."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from selfsup.errors import BenchmarkError
from selfsup.runtime import holder_of, lock_of
from selfsup_bench.executors.base import Job, Outcome
from selfsup_bench.executors.workers import Work, log_to
from selfsup_bench.records.record import RecordStore

RETRIES = 2
"""Times that a cell is tried again when its process dies, unless the option ``retries`` says otherwise."""
_LOCKED = 90.0
"""Seconds that a dead process of another machine may hold the folder of a run at most."""


def take_retries(options: dict[str, Any]) -> int:
    """Take ``retries`` out of the options of an executor.

    Raises:
        BenchmarkError: it is no number of times.
    """
    given = str(options.pop("retries", RETRIES))
    if not given.isdigit():
        raise BenchmarkError(f"the executor's option retries is a number of times, 0 or more, and not {given!r}.")
    return int(given)


def say(line: str) -> None:
    """Show a line on stderr."""
    click.echo(line, err=True)


class Tries:
    """Which jobs are tried again, and what became of those that are not."""

    def __init__(self, most: int, say: Callable[[str], object]) -> None:
        self.most, self.say = most, say
        self.done: Counter[str] = Counter()

    def again(self, job: Job, reason: str) -> bool:
        """Whether a job whose process died is tried again; a record that it wrote before counts.

        Args:
            job: the job.
            reason: how its process ended.
        """
        if RecordStore(job.out).read(job.key) is not None or self.done[job.key] >= self.most:
            return False
        self.done[job.key] += 1
        self.say(f"{job.cell.name}: {reason}. It is tried again ({self.done[job.key]} of {self.most}).")
        return True

    def outcome(self, job: Job, reason: str) -> Outcome:
        """How a job ended whose process died for the last time."""
        tries = self.done[job.key] + 1
        return Outcome(job, f"{reason}, {tries} times" if tries > 1 else reason)


def sent_values(job: Job) -> dict[str, Any]:
    """A job for another machine, with an absolute path."""
    return {**job.as_dict(), "out": str(job.out.absolute())}


def this_process() -> tuple[str, int]:
    """Machine and id of this process."""
    return platform.node(), os.getpid()


def run_there(work: Work, starter: tuple[str, int], environment: Mapping[str, str], values: dict[str, Any]) -> str:
    """Run a cell in a process of a cluster, with what it prints in the cell's log.

    It first waits while an earlier process of the cell seems to hold the folder of its run: that process may have died on
    another machine, and Slurm starts a job again without a word to the benchmark.

    Args:
        work: what to do with the cell.
        starter: :func:`this_process` of the benchmark.
        environment: variables that this process takes over where it does not have them.
        values: of :func:`sent_values`.

    Returns:
        How it ended, if ``work`` says so.
    """
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    job = Job.from_dict(values)
    if this_process() != starter:
        job.folder.mkdir(parents=True, exist_ok=True)
        log_to(job.log)
    _wait_for(job.folder / "run")
    try:
        said = work(values)
        return said if isinstance(said, str) else "done"
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _wait_for(run: Path) -> None:
    """Wait until no process holds the folder of a run, for as long as a dead one can seem to."""
    end = time.monotonic() + _LOCKED
    while holder_of(lock_of(run)) is not None and time.monotonic() < end:
        time.sleep(2)
