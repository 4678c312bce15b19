"""Call a function in one process per device on this machine, without running the caller's script again.

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
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from selfsup import errors
from selfsup.errors import RunError
from selfsup.runtime.files import SCRATCH_HINT, atomic_write, storage_errors
from selfsup.runtime.machine_load import cpu_count
from selfsup.runtime.temporary_files import alive
from selfsup.training.loop.signals import REQUEUE, StopRequest

_RESULT = "result.json"
_INTERRUPTED = 128 + signal.SIGINT
_STOPPED = {_INTERRUPTED, *(-number for number in (signal.SIGINT, signal.SIGTERM, REQUEUE) if number)}
"""How processes end that a request to stop ends before they can save: with this status, or by the signal."""
_UNWRITTEN = 73
"""How a process ends whose error cannot be written to the disk (``EX_CANTCREAT``)."""
_POLL_SECONDS = 0.1
_FOLLOW_SECONDS = 1.0
_GRACE_SECONDS = 5.0
"""How long the other processes may take to end after one has failed."""


def run_processes(call: str, arguments: Mapping[str, Any], processes: int, stop: StopRequest) -> Any:
    """Call a function in several processes and wait for all of them.

    A request to stop is passed on (SIGUSR1 as it is, all others as SIGTERM), so that a run saves a checkpoint and ends. After a
    process has failed, the others have five seconds to end.

    Args:
        call: ``module:name`` of the function; each process calls it with a :class:`StopRequest` and the arguments. It lets
            SIGUSR1 through with :func:`accept_requeue`.
        arguments: JSON values.
        processes: number of processes.
        stop: listens for requests to stop.

    Returns:
        What the function gives in the first process, a JSON value.

    Raises:
        SelfsupError: what a process raised, as the same class.
        RunError: a process was killed by a signal, or died without an error of its own.
        SystemExit: a request to stop ended the processes before they could save anything.
        KeyboardInterrupt: SIGINT did.
    """
    with tempfile.TemporaryDirectory(prefix="selfsup-") as name, stop:
        folder = Path(name)
        with storage_errors(folder, hint=SCRATCH_HINT):
            (folder / "plan.json").write_text(json.dumps({"call": call, "arguments": dict(arguments), "launcher": os.getpid()}))
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
        workers: list[subprocess.Popen[bytes]] = []
        try:
            with _requeue_blocked():
                for rank in range(processes):
                    workers.append(_start(folder, rank, environment))  # noqa: PERF401 - the next may fail
            _wait(workers, stop)
            codes = [worker.poll() for worker in workers]  # before the rest of them is killed here
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        failed = [(rank, code) for rank, code in enumerate(codes) if code]
        if stop.signal is not None and failed and {code for _, code in failed} <= _STOPPED:
            raise KeyboardInterrupt if stop.signal == signal.SIGINT else SystemExit(128 + stop.signal)
        if failed:
            raise _failure(folder, failed, processes)
        result = folder / _RESULT
        return json.loads(result.read_text()) if result.exists() else None


def write_failure(folder: Path, rank: int, error: BaseException) -> bool:
    """Write down an error for the process that waits; False: the disk of the temporary files cannot be written."""
    failure = {"time": time.time(), "rank": rank, "type": type(error).__name__, "message": str(error)}
    try:
        atomic_write(folder / f"error-{rank}.json", json.dumps(failure))
    except errors.StorageError:
        sys.stderr.write(f"Error: {error}\n")
        return False
    return True


def _start(folder: Path, rank: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "selfsup.training.run.launch", str(folder)]
    try:
        if rank == 0:
            return subprocess.Popen(command, env=own, stdout=sys.stderr.fileno() if _has_descriptor() else None)
        path = folder / f"log-{rank}.txt"
        with storage_errors(path, hint=SCRATCH_HINT):
            log = path.open("wb")
        with log:
            return subprocess.Popen(command, env=own, stdout=log, stderr=subprocess.STDOUT)
    except OSError as error:
        raise RunError(f"process {rank} cannot be started: {error.strerror or error}.") from error


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


def _failure(folder: Path, failed: Sequence[tuple[int, int]], processes: int) -> errors.SelfsupError:
    """The error that came first, since the others mostly follow from it.

    A process that was killed comes before all others: they fail because it is gone. Only SIGABRT may itself follow from an
    error in another process, as torch's watchdog of NCCL sends it. A :class:`SelfsupError` comes before other errors.
    """
    for rank, code in failed:
        if code < 0 and -code != signal.SIGABRT:
            return _death(folder, rank, code, processes)
    failures = []
    for path in folder.glob("error-*.json"):
        with suppress(OSError, ValueError):  # cut short by a full disk
            failures.append(json.loads(path.read_text()))
    failures.sort(key=lambda failure: (errors.error_named(failure["type"], "") is None, failure["time"]))
    unwritten = [rank for rank, code in failed if code == _UNWRITTEN]
    if not failures and unwritten:
        # What the first process prints is seen; the others print into files, which may be on that disk.
        printed = _output(folder, unwritten[0]) or "(lost)"
        said = "and its error is printed above." if 0 in unwritten else f"its last output: {printed}"
        text = f"Cannot write {folder}: is the disk full? {SCRATCH_HINT} A process failed there, {said}"
        return errors.StorageError(text)
    if not failures:
        return _death(folder, *failed[0], processes)
    first = failures[0]
    if (known := errors.error_named(first["type"], first["message"])) is not None:
        return known
    where = f"process {first['rank']} of {processes}"
    return RunError(f"{where} failed, which ended the others: {first['type']}: {first['message']}")


def _death(folder: Path, rank: int, code: int, processes: int) -> RunError:
    """An error about a process that left none of its own; ranks count from 0."""
    tail = _output(folder, rank)
    reason = "it ended with status " + str(code)
    if code < 0:
        known = -code in set(signal.Signals)
        reason = f"{signal.Signals(-code).name} (signal {-code}) killed it" if known else f"signal {-code} killed it"
    hint = " The system does that when memory is full." if -code == signal.SIGKILL else ""
    last = f" Its last output:\n{tail}" if tail else ""
    who = f"process {rank} of {processes} (ranks count from 0)"
    return RunError(f"{who} died: {reason}, and the others were stopped.{hint}{last}")


def _output(folder: Path, rank: int) -> str:
    """The end of what a process has printed; nothing of the first, whose output is that of the run."""
    log = folder / f"log-{rank}.txt"
    return log.read_text(errors="replace")[-2000:].strip() if log.exists() else ""


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def run_worker(folder: Path) -> int:
    """Make the call that ``plan.json`` describes, and write down its result or error. Returns the exit status."""
    rank, stop = int(os.environ["RANK"]), StopRequest()
    plan = json.loads((folder / "plan.json").read_text())
    module, _, name = plan["call"].partition(":")
    threading.Thread(target=_follow, args=(os.getppid(), plan["launcher"]), daemon=True).start()
    try:
        result = getattr(import_module(module), name)(stop, **plan["arguments"])
        if rank == 0 and result is not None:
            with storage_errors(folder, hint=SCRATCH_HINT):
                (folder / _RESULT).write_text(json.dumps(result))
    except KeyboardInterrupt:  # Ctrl-C reaches all processes of a terminal
        return _INTERRUPTED
    except BaseException as error:
        if not isinstance(error, errors.SelfsupError):
            traceback.print_exc()
        return 1 if write_failure(folder, rank, error) else _UNWRITTEN
    return 0


def _follow(parent: int, launcher: int) -> None:
    """Ask this process to stop once the one that started it is gone, which it may be already: nobody else would end it."""
    while os.getppid() == parent and alive(launcher):
        time.sleep(_FOLLOW_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def work(folder: Path) -> NoReturn:
    """Call :func:`run_worker` and end the process: a peer that waits in a collective would hold up a normal exit."""
    status = run_worker(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
