"""Launch one process per device on this machine, without running the caller's script again.

Lightning Fabric's launcher and torch's ``spawn`` run that script again in each process, and lose the class of an error.
torch's elastic agent and ``spawn`` answer a failure with SIGTERM to the other processes, which for a run means to save.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup import errors
from selfsup.errors import RunError
from selfsup.runtime.machine_load import cpu_count
from selfsup.training.loop.signals import StopRequest

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
"""How long the others may take to end by themselves after one process has failed."""


def run_processes(plan: Mapping[str, Any], processes: int, stop: StopRequest) -> None:
    """Run ``selfsup.training.run.worker`` in so many processes and wait for all of them.

    What asks to stop is passed on (SIGUSR1 as it is, all else as SIGTERM), so that the processes save a checkpoint and leave.

    Args:
        plan: JSON values that each worker gets.
        processes: how many.
        stop: holds the request to stop, if one comes meanwhile.

    Raises:
        SelfsupError: what a worker raised, as the same class.
        RunError: a worker died without a word.
    """
    with tempfile.TemporaryDirectory(prefix="selfsup-") as name, stop:
        folder = Path(name)
        (folder / "plan.json").write_text(json.dumps(plan))
        environment = {
            "OMP_NUM_THREADS": str(max(cpu_count() // processes, 1)),
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "GROUP_RANK": "0",
            "TORCHELASTIC_RUN_ID": folder.name,
        }
        workers = [_start(folder, rank, environment) for rank in range(processes)]
        try:
            _wait(workers, stop, folder)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        failed = [(rank, worker.returncode) for rank, worker in enumerate(workers) if worker.returncode != 0]
        if failed:
            raise _failure(folder, failed)


def write_failure(folder: Path, rank: int, error: BaseException) -> None:
    """Leave word of an error for the process that waits."""
    word = {"time": time.time(), "type": type(error).__name__, "message": str(error)}
    (folder / f"error-{rank}.json").write_text(json.dumps(word))


def _start(folder: Path, rank: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "selfsup.training.run.worker", str(folder)]
    if rank == 0:
        return subprocess.Popen(command, env=own, stdout=sys.stderr.fileno() if _has_descriptor() else None)
    with (folder / f"log-{rank}.txt").open("wb") as log:
        return subprocess.Popen(command, env=own, stdout=log, stderr=subprocess.STDOUT)


def _has_descriptor() -> bool:
    """Whether stderr is a real file; in notebooks and tests it may not be."""
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def note_ready(folder: Path, rank: int) -> None:
    """Tell the process that waits that SIGUSR1 can be sent from now on: it would end a process that does not handle it yet."""
    (folder / f"ready-{rank}").touch()


def _wait(workers: list[subprocess.Popen[bytes]], stop: StopRequest, folder: Path) -> None:
    passed_on = False
    deadline: float | None = None
    while any(worker.poll() is None for worker in workers):
        ready = not stop.requeues or all((folder / f"ready-{rank}").exists() for rank in range(len(workers)))
        if stop.signal is not None and ready and not passed_on:
            passed_on = True
            for worker in workers:
                worker.send_signal(stop.signal if stop.requeues else signal.SIGTERM)
        if deadline is None and any(worker.poll() not in (None, 0) for worker in workers):
            deadline = time.monotonic() + _GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(_POLL_SECONDS)


def _failure(folder: Path, failed: list[tuple[int, int]]) -> errors.SelfsupError:
    """The error that came first: the others are mostly its consequences. An error of ours goes before a foreign one."""
    words = [json.loads(path.read_text()) for path in folder.glob("error-*.json")]
    words.sort(key=lambda word: (not _is_ours(word["type"]), word["time"]))
    if not words:
        rank, code = failed[0]
        log = folder / f"log-{rank}.txt"
        tail = "\n" + log.read_text(errors="replace")[-2000:] if log.exists() else ""
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return RunError(f"process {rank} of the run {how} without an error of its own; it may have run out of memory.{tail}")
    first = words[0]
    if _is_ours(first["type"]):
        kind: type[errors.SelfsupError] = getattr(errors, first["type"])
        return kind(first["message"])
    return RunError(f"a process of the run failed: {first['type']}: {first['message']}")


def _is_ours(name: str) -> bool:
    kind = getattr(errors, name, None)
    return isinstance(kind, type) and issubclass(kind, errors.SelfsupError)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
