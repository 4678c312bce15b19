"""Runs commands of ``selfsup`` in forks of one process that has imported torch, so that each starts at once.

As a program (``python -m long_runs.command_server``) it reads a JSON object a line: ``argv``, ``environment``, ``control`` (of
:mod:`long_runs.disk_faults`), ``log`` and ``after_seconds``. It prints the exit status of each.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from long_runs.disk_faults import Control, Fault, arm

KILLED = -signal.SIGKILL
_POLL_SECONDS = 0.005
_LONGEST_SECONDS = 600.0
"""A command that takes longer hangs."""


class CommandServer:
    """Runs commands one after the other.

    Args:
        library: from :func:`long_runs.disk_faults.build`.
        environment: of every command.
        modules: imported before the first command.
        folder: in which each command runs.
    """

    def __init__(self, library: Path, environment: Mapping[str, str], modules: Sequence[str], folder: Path) -> None:
        preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD", "")]))
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
        path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(Path(__file__).parents[1])]))
        everything = {**os.environ, **one_thread, **environment, "LD_PRELOAD": preload, "PYTHONPATH": path}
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "long_runs.command_server", *modules],
            env=everything,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, argv: Sequence[str], control: Control, fault: Fault, log: Path) -> int:
        """Exit status of ``selfsup ARGV``; minus the signal's number if a signal ended it. The output goes to ``log``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "argv": list(argv),
            "control": str(control.path),
            "log": str(log),
            "whole": fault.whole,
            "folder": str(self._folder),
        }
        self._process.stdin.write(json.dumps({**order, "after_seconds": fault.after_seconds}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server of commands ended with status {self._process.wait()}")
        return int(answer)

    def close(self) -> None:
        """End the server."""
        self._process.communicate()


def _run(order: Mapping[str, Any]) -> int:
    control = Path(order["control"])
    child = os.fork()
    if not child:
        _become(order, control)
    deadline = time.monotonic() + (_LONGEST_SECONDS if order["after_seconds"] is None else order["after_seconds"])
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            if order["after_seconds"] is None:
                raise TimeoutError(f"{order['argv']} takes longer than {_LONGEST_SECONDS:.0f} s")
            break
        time.sleep(_POLL_SECONDS)
    return os.waitstatus_to_exitcode(ended[1])


def _become(order: Mapping[str, Any], control: Path) -> None:
    """In the fork: be the command."""
    status = 1
    try:
        os.chdir(order["folder"])
        os.setsid()  # a group of its own, as a shell gives a command
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if order["whole"]:
            Control(control).lead(os.getpid())
        arm(control)
        from selfsup.cli.main import main

        main(order["argv"])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(modules: Sequence[str]) -> None:
    """Answer orders until there are no more."""
    for name in modules:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork of a process with threads might hang"
    for line in sys.stdin:
        sys.stdout.write(f"{_run(json.loads(line))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1:])
