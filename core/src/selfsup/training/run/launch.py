"""Launch one process per device on this machine, without running the caller's script again.

Lightning Fabric's launcher and torch's ``spawn`` run that script again in each process, and lose the class of an error.
torch's elastic agent and ``spawn`` send SIGTERM to the other processes after a failure, which asks a run to save.

As a program (``python -m selfsup.training.run.launch FOLDER``) this module is one of these processes.
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
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from selfsup import errors
from selfsup.errors import RunError
from selfsup.runtime.machine_load import cpu_count
from selfsup.training.loop.signals import REQUEUE, StopRequest

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
"""How long the other processes may take to end after one has failed."""


def run_processes(plan: Mapping[str, Any], processes: int, stop: StopRequest) -> None:
    """Run :func:`run_worker` in several processes and wait for all of them.

    A request to stop is passed on (SIGUSR1 as it is, all others as SIGTERM), so that the processes save a checkpoint and end.

    Args:
        plan: JSON values for the workers: ``config``, ``out``, ``resume`` and ``progress``.
        processes: number of processes.
        stop: listens for requests to stop.

    Raises:
        SelfsupError: what a worker raised, as the same class.
        RunError: a worker died without an error of its own.
        SystemExit: a request to stop came before the workers could save anything.
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
        with _requeue_blocked():
            workers = [_start(folder, rank, environment) for rank in range(processes)]
        try:
            _wait(workers, stop)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        failed = [(rank, worker.returncode) for rank, worker in enumerate(workers) if worker.returncode != 0]
        if stop.signal is not None and failed and {code for _, code in failed} == {-signal.SIGTERM}:
            raise KeyboardInterrupt if stop.signal == signal.SIGINT else SystemExit(128 + stop.signal)
        if failed:
            raise _failure(folder, failed)


def write_failure(folder: Path, rank: int, error: BaseException) -> None:
    """Write down an error for the process that waits."""
    failure = {"time": time.time(), "type": type(error).__name__, "message": str(error)}
    (folder / f"error-{rank}.json").write_text(json.dumps(failure))


def _start(folder: Path, rank: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "selfsup.training.run.launch", str(folder)]
    if rank == 0:
        return subprocess.Popen(command, env=own, stdout=sys.stderr.fileno() if _has_descriptor() else None)
    with (folder / f"log-{rank}.txt").open("wb") as log:
        return subprocess.Popen(command, env=own, stdout=log, stderr=subprocess.STDOUT)


def _has_descriptor() -> bool:
    """Whether stderr is a real file; in notebooks and tests it may be none."""
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


@contextmanager
def _requeue_blocked() -> Iterator[None]:
    """Start processes with SIGUSR1 blocked: it waits until they call :func:`accept_requeue`, and would end them before."""
    if REQUEUE is None:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {REQUEUE})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def accept_requeue() -> None:
    """Let SIGUSR1 through in a worker, once something handles it."""
    if REQUEUE is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {REQUEUE})


def _wait(workers: list[subprocess.Popen[bytes]], stop: StopRequest) -> None:
    passed_on = False
    deadline: float | None = None
    while any(worker.poll() is None for worker in workers):
        if stop.signal is not None and not passed_on:
            passed_on = True
            for worker in workers:
                worker.send_signal(stop.signal if stop.requeues else signal.SIGTERM)
        if deadline is None and any(worker.poll() not in (None, 0) for worker in workers):
            deadline = time.monotonic() + _GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(_POLL_SECONDS)


def _failure(folder: Path, failed: list[tuple[int, int]]) -> errors.SelfsupError:
    """The error that came first, since the others mostly follow from it; a :class:`SelfsupError` comes before all others."""
    failures = [json.loads(path.read_text()) for path in folder.glob("error-*.json")]
    failures.sort(key=lambda failure: (not _is_ours(failure["type"]), failure["time"]))
    if not failures:
        rank, code = failed[0]
        log = folder / f"log-{rank}.txt"
        tail = "\n" + log.read_text(errors="replace")[-2000:] if log.exists() else ""
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return RunError(f"process {rank} of the run {how} without an error of its own; it may have run out of memory.{tail}")
    first = failures[0]
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


def run_worker(folder: Path) -> int:
    """Take part in the run that ``plan.json`` describes, and write down an error. Returns the exit status."""
    rank, stop = int(os.environ["RANK"]), StopRequest()
    plan = json.loads((folder / "plan.json").read_text())
    try:
        with stop.before_training():
            accept_requeue()
            from selfsup.training.device.devices import resolve_devices
            from selfsup.training.run.config import RunConfig
            from selfsup.training.run.process import execute

            config, out = RunConfig.model_validate(plan["config"]), Path(plan["out"])
            execute(config, resolve_devices(config), out, stop, resume=plan["resume"], progress=plan["progress"])
    except BaseException as error:
        if not isinstance(error, errors.SelfsupError):
            traceback.print_exc()
        write_failure(folder, rank, error)
        return 1
    return 0


def work(folder: Path) -> NoReturn:
    """Call :func:`run_worker` and end the process: a peer that waits in a collective would hold up a normal exit."""
    status = run_worker(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
