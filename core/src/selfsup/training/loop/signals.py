"""Asked to stop: finish the step, save, and leave."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class StopRequest:
    """While entered, SIGTERM, SIGHUP (its terminal is closed) and the first SIGINT (Ctrl-C) ask the run to stop.

    A second SIGINT interrupts at once. SIGHUP stays ignored where it was (``nohup``).

    Signals reach the main thread only; elsewhere this does nothing but hold the flag.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The signal that asked, or None."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
            for number in (signal.SIGTERM, signal.SIGINT, *(n for n in hangup if signal.getsignal(n) == signal.SIG_DFL)):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    @property
    def interrupted(self) -> bool:
        """Whether it was Ctrl-C that asked."""
        return self.signal == signal.SIGINT
