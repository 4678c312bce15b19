"""Two processes for the checks of what devices do together, started from a server that has imported torch once."""

from __future__ import annotations

import multiprocessing
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from selfsup.testing.kit.joined_batch import PROCESSES


def run_in_two_processes(function: Callable[..., Any], *arguments: Any) -> None:
    """Call ``function(rank, *arguments)`` in two new processes at once, and wait for both.

    Where the platform can fork, they come from one server process (``forkserver``), which lasts as long as this process does:
    only the first call waits for the import of torch.

    Args:
        function: of a module that can be imported.
        arguments: that can be pickled.

    Raises:
        torch.multiprocessing.ProcessRaisedException: one of them failed; its traceback is in the message.
    """
    start = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    if start == "forkserver":
        multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "lightning_fabric"])
    given = (dict(os.environ), function, *arguments)
    torch.multiprocessing.start_processes(  # type: ignore[attr-defined, no-untyped-call]  # torch leaves it untyped
        _call, args=given, nprocs=PROCESSES, start_method=start
    )


def run_script_in_two_processes(script: Path, *arguments: Any) -> None:
    """Call the function ``process(rank, *arguments)`` of a script, which needs to lie in no package, in two new processes."""
    run_in_two_processes(_of_script, str(script), *arguments)


def _call(rank: int, environment: dict[str, str], function: Callable[..., Any], *arguments: Any) -> None:
    os.environ.clear()  # those of the server are older
    os.environ.update(environment)
    torch.set_num_threads(1)
    function(rank, *arguments)


def _of_script(rank: int, script: str, *arguments: Any) -> None:
    runpy.run_path(script)["process"](rank, *arguments)
