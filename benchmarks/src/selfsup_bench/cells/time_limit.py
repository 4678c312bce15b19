"""Ends what takes too long, within the process that does it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from selfsup.errors import BenchmarkError

TOO_LONG = "it took too long"
"""How the error begins."""
_AGAIN = 5.0
"""Seconds until the error is raised again, in case other code caught it."""


class TookTooLongError(BenchmarkError):
    """What was limited did not end in time."""


@contextmanager
def time_limit(seconds: float | None) -> Generator[None, None, None]:
    """Raise :class:`TookTooLongError` in what is done here if it takes longer.

    It is raised between two instructions of Python: what runs within a library ends first. Without a timer of the system
    (Windows), and outside the main thread, there is no limit.

    Args:
        seconds: None: no limit.
    """
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not able:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TookTooLongError(f"{TOO_LONG}: it was ended after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
