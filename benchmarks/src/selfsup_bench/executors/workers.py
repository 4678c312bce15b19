"""Processes that run cells: one after another on a GPU, where starting one takes seconds, else one each."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any

from selfsup_bench.executors.base import Ending, Job

Work = Callable[[dict[str, Any]], Any]
"""What a process runs, given ``Job.as_dict()``. It returns how the cell ended (:data:`~selfsup_bench.executors.base.Ending`);
anything else means ``done``."""


@dataclass(frozen=True)
class Ready:
    """A worker has begun."""

    free: int | None
    """Bytes of the device that are free then; None without one."""


@dataclass(frozen=True)
class Ended:
    """A cell has ended, and could say so itself."""

    how: Ending
    peak: int | None = None
    """Bytes of the device that it took; None without one."""


class Gauge:
    """What a worker measures of its device; this one has none."""

    context = 0
    """Bytes that a process takes there before its first tensor."""

    def free(self) -> int | None:
        """Bytes that are free."""
        return None

    def begin(self) -> None:
        """A cell begins: forget the peak."""

    def end(self) -> int | None:
        """A cell has ended: give back what it left, and return the bytes that it took at its peak."""
        return None


class CudaGauge(Gauge):
    """The memory of the current GPU, as PyTorch's allocator takes it."""

    context = 600 * 2**20

    def free(self) -> int | None:
        """Bytes that are free, once this process has its context."""
        import torch

        torch.zeros(1, device="cuda")
        return int(torch.cuda.mem_get_info()[0])

    def begin(self) -> None:
        """Forget the peak."""
        import torch

        torch.cuda.reset_peak_memory_stats()

    def end(self) -> int | None:
        """Free what nothing holds any more; the peak is that of what was reserved."""
        import torch

        peak = int(torch.cuda.max_memory_reserved())
        gc.collect()
        torch.cuda.empty_cache()
        return peak


class Worker:
    """A process that is handed cells, and what it runs now."""

    def __init__(self, context: ForkServerContext | SpawnContext, work: Work, gauge: Gauge, *, once: bool) -> None:
        """Start a process.

        Args:
            context: how processes are started.
            work: what it does with a cell.
            gauge: measures the device.
            once: it ends after the first cell.
        """
        self.once = once
        self.job: Job | None = None
        self.shared = False
        """Whether another cell has run beside this one's."""
        self.ready = once
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(dict(os.environ), there, work, gauge, once), daemon=False)
        self.process.start()
        there.close()

    def begin(self, job: Job, *, shared: bool) -> None:
        """Hand a cell in."""
        job.folder.mkdir(parents=True, exist_ok=True)
        self.job, self.shared = job, shared
        with suppress(OSError):  # it has died already, which the exit code says
            self.connection.send((job.as_dict(), str(job.log)))

    def message(self) -> Ready | Ended | None:
        """What it says next; None if it has died."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            return None
        assert isinstance(said, Ready | Ended)
        return said

    def exit_code(self) -> int:
        """How it died, once it has."""
        self.process.join()
        code = self.process.exitcode or 0
        self.close()
        return code

    def close(self) -> None:
        """Close the connection; an idle worker then ends."""
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.stop()
        self.process.close()

    def stop(self) -> None:
        """Kill it and all processes that it has started."""
        self._signal(signal.SIGTERM)
        self.process.join(5)
        if self.process.is_alive():
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self.process.join()

    def _signal(self, number: int) -> None:
        pid = self.process.pid
        if hasattr(os, "killpg") and pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
                return
        with suppress(ProcessLookupError):  # its process group does not exist yet
            self.process.terminate() if number == signal.SIGTERM else self.process.kill()


def _serve(environment: dict[str, str], connection: Connection, work: Work, gauge: Gauge, once: bool) -> None:
    os.environ.clear()  # it is that of the server process at its start
    os.environ.update(environment)
    _end_with_parent()
    if not once:
        connection.send(Ready(gauge.free()))
    while True:
        try:
            job, log = connection.recv()
        except EOFError:
            return
        log_to(Path(log))
        gauge.begin()
        said = work(job)
        sys.stdout.flush()
        sys.stderr.flush()
        how: Ending = said if said in ("failed", "out-of-memory") else "done"
        connection.send(Ended(how, _peak(gauge)))
        if once or how != "done":  # after some errors a GPU can no longer be used by the same process
            return


def log_to(path: Path) -> None:
    """Append what this process prints from now on to a file."""
    with path.open("a", encoding="utf-8") as file:
        # The file descriptors themselves, so that what C++ code says before it aborts is in the log too.
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _peak(gauge: Gauge) -> int | None:
    try:
        return gauge.end()
    except RuntimeError:  # the device does not answer
        return None


def _end_with_parent() -> None:
    """End this process and all that it starts as soon as the process that started it is dead, however that died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)

    def watch() -> None:
        parent.join()
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
