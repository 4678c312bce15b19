"""Processes for the checks of what devices do together, started from a server that has imported torch once."""

from __future__ import annotations

import os
import runpy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from selfsup.runtime.process_server import can_fork, fork_server

LONGEST_SECONDS = 300.0
"""After which processes that wait for each other are ended."""


def run_in_processes(count: int, function: Callable[..., Any], *arguments: Any, longest: float = LONGEST_SECONDS) -> None:
    """Call ``function(rank, *arguments)`` in new processes at once, and wait for all of them.

    Where the platform can fork, they come from one server process (``forkserver``), which lasts as long as this process does:
    only the first call waits for the import of torch.

    Args:
        count: number of processes.
        function: of a module that can be imported.
        arguments: that can be pickled.
        longest: seconds after which they are ended.

    Raises:
        torch.multiprocessing.ProcessRaisedException: one of them failed; its traceback is in the message.
        TimeoutError: they take longer than ``longest``, as where one waits for a call that the other never makes.
    """
    start = "forkserver" if can_fork() else "spawn"
    if can_fork():
        fork_server(["selfsup.training.device.fabric"])
    given = (dict(os.environ), function, *arguments)
    context = torch.multiprocessing.start_processes(  # type: ignore[attr-defined, no-untyped-call]  # torch leaves it untyped
        _call, args=given, nprocs=count, join=False, start_method=start
    )
    deadline = time.monotonic() + longest
    while not context.join(timeout=1.0):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f"{count} processes had not ended after {longest:g} seconds.")


def run_script_in_processes(count: int, script: Path, *arguments: Any) -> None:
    """Call the function ``process(rank, *arguments)`` of a script, which needs to lie in no package, in new processes."""
    run_in_processes(count, _of_script, str(script), *arguments)


def _call(rank: int, environment: dict[str, str], function: Callable[..., Any], *arguments: Any) -> None:
    os.environ.clear()  # those of the server are older
    os.environ.update(environment)
    torch.set_num_threads(1)
    function(rank, *arguments)


def _of_script(rank: int, script: str, *arguments: Any) -> None:
    runpy.run_path(script)["process"](rank, *arguments)
