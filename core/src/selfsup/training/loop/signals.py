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
"""The signal that Slurm sends before a job's time limit (``#SBATCH --signal=USR1@120``)."""


class StopRequest:
    """While entered, SIGTERM, SIGHUP (its terminal was closed), SIGUSR1 and the first SIGINT (Ctrl-C) ask the run to stop.

    A second SIGINT interrupts at once. SIGHUP stays ignored if it was (``nohup``), and an existing handler of SIGUSR1 stays (a
    launcher such as submitit requeues its jobs itself).

    Python handles signals in the main thread only; in other threads this only holds the flag.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The signal that asked to stop, or None."""
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
        """While entered, remember SIGUSR1 until the first step: before it there is nothing to save."""
        before = self._take(REQUEUE) if REQUEUE and self._is_free(REQUEUE) else {}
        try:
            yield
        finally:
            _give_back(before)

    def _is_free(self, number: int) -> bool:
        """Whether no other handler is set for a signal."""
        return signal.getsignal(number) in (signal.SIG_DFL, self._ask)

    def _take(self, *numbers: int) -> dict[int, Any]:
        """Handle signals from now on; returns the previous handlers."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._ask) for number in numbers}

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        if self.signal is None:  # Slurm also sends SIGTERM at the time limit
            self.signal = number

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C asked to stop."""
        return self.signal == signal.SIGINT

    @property
    def requeues(self) -> bool:
        """Whether SIGUSR1 asked to stop."""
        return self.signal is not None and self.signal == REQUEUE


def requeue_job(*, resumes: bool) -> str:
    """Requeue this process's Slurm job (``scontrol requeue``), and return a message about it.

    Only the first process of a job does so; other processes, and those outside of Slurm, return an empty text.

    Args:
        resumes: whether the job's command resumes a run (``--resume``); one without would fail after a requeue.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or any(os.environ.get(name, "0") != "0" for name in ("RANK", "SLURM_PROCID")):
        return ""
    if (array := os.environ.get("SLURM_ARRAY_JOB_ID")) and (task := os.environ.get("SLURM_ARRAY_TASK_ID")):
        job = f"{array}_{task}"  # the last job of an array has the array's own id
    if not resumes:
        return (
            f"Warning: the job {job} is not put back into the queue, since its command does not resume: add --resume --out DIR."
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
