"""Stop on a signal: finish the step, save and leave; requeue a Slurm job."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

REQUEUE = getattr(signal, "SIGUSR1", None)
"""What Slurm sends before the time of a job is over (``#SBATCH --signal=USR1@120``)."""


class StopRequest:
    """While entered, SIGTERM, SIGHUP (its terminal is closed), SIGUSR1 and the first SIGINT (Ctrl-C) ask the run to stop.

    A second SIGINT interrupts at once. SIGHUP stays ignored where it was (``nohup``), and SIGUSR1 is left to a handler that is
    there already (a launcher such as submitit puts its jobs back into the queue itself).

    Signals reach the main thread only; elsewhere this does nothing but hold the flag.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The signal that asked, or None."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        unhandled = [number for number in (getattr(signal, "SIGHUP", None), REQUEUE) if number and self._is_free(number)]
        self._before |= self._take(signal.SIGTERM, signal.SIGINT, *unhandled)
        return self

    def __exit__(self, *_: object) -> None:
        _give_back(self._before)
        self._before.clear()

    @contextmanager
    def before_training(self) -> Iterator[None]:
        """While entered, SIGUSR1 is kept for the first step: there is nothing to save before it, and nobody who looks."""
        before = self._take(REQUEUE) if REQUEUE and self._is_free(REQUEUE) else {}
        try:
            yield
        finally:
            _give_back(before)

    def _is_free(self, number: int) -> bool:
        """Whether nobody but this handles a signal."""
        return signal.getsignal(number) in (signal.SIG_DFL, self._ask)

    def _take(self, *numbers: int) -> dict[int, Any]:
        """Handle signals from here on; gives what handled them before."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._ask) for number in numbers}

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        if self.signal is None:  # Slurm sends SIGTERM, too, when the time is over
            self.signal = number

    @property
    def interrupted(self) -> bool:
        """Whether it was Ctrl-C that asked."""
        return self.signal == signal.SIGINT

    @property
    def requeues(self) -> bool:
        """Whether it was SIGUSR1 that asked."""
        return self.signal is not None and self.signal == REQUEUE


def requeue_job(*, resumes: bool) -> str:
    """Put the job of Slurm that this process runs in back into the queue (``scontrol requeue``), and say what came of it.

    Only the first process of a job does so; others, and processes outside of Slurm, do nothing and give an empty text.

    Args:
        resumes: whether the job's command goes on with a run that it finds (``--resume``); one that does not would fail.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or any(os.environ.get(name, "0") != "0" for name in ("RANK", "SLURM_PROCID")):
        return ""
    if (array := os.environ.get("SLURM_ARRAY_JOB_ID")) and (task := os.environ.get("SLURM_ARRAY_TASK_ID")):
        job = f"{array}_{task}"  # the id of an array's last job is that of the whole array
    if not resumes:
        return (
            f"Warning: the job {job} is not put back into the queue, for its command would not go on: add --resume --out DIR."
        )
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"Warning: the job {job} could not be put back into the queue: {error}."
    if done.returncode:
        return f"Warning: the job {job} could not be put back into the queue: {(done.stderr or done.stdout).strip()}."
    return f"The job {job} is in the queue again."


def _give_back(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
