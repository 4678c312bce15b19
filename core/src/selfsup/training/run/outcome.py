"""How a run begins and ends, as its ``run.json`` says it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from selfsup.artifacts import RunDirectory
from selfsup.errors import SelfsupError
from selfsup.runtime import peak_memory
from selfsup.runtime.progress import Reporter
from selfsup.training.device.fabric import Fabric
from selfsup.training.run.resume import describe_continuation

Status = Literal["done", "stopped"]


@dataclass
class Outcome:
    """How a run ends."""

    begun: bool
    """False while a run that goes on may still be refused, which leaves ``run.json`` as it was."""
    status: Status = "done"


def begin(outcome: Outcome, directory: RunDirectory, continued: Mapping[str, Any], fabric: Fabric, reporter: Reporter) -> None:
    """Mark a run that goes on as running again, once no process refuses its checkpoint any longer; all call it together.

    Args:
        outcome: of the run, from :func:`recorded`.
        directory: the run's folder.
        continued: from :func:`~selfsup.training.run.resume.continuation`.
        fabric: the devices.
        reporter: is told with what the run goes on.
    """
    fabric.barrier()
    if fabric.global_rank == 0 and not outcome.begun:
        directory.update(status="running", **continued)
        if "history" in continued:
            reporter.message(describe_continuation(continued["history"]))
    outcome.begun = True


@contextmanager
def recorded(directory: RunDirectory, fabric: Fabric, *, begun: bool) -> Iterator[Outcome]:
    """Write into ``run.json`` how a run ended; nothing if it had not begun.

    Args:
        directory: the run's folder.
        fabric: the devices; the first process writes.
        begun: False for a run that goes on, until :func:`begin`.
    """
    outcome = Outcome(begun)
    main = fabric.global_rank == 0
    began = time.monotonic()
    try:
        yield outcome
    except BaseException as error:
        if main and outcome.begun:
            reason = str(error) if isinstance(error, SelfsupError) else f"{type(error).__name__}: {error}"
            ended = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            with suppress(SelfsupError):  # where the disk is full, the error on its way says so
                directory.update(status=ended, error=reason)
        raise
    if main:
        directory.update(
            status=outcome.status,
            error=None,
            seconds=round(time.monotonic() - began, 3),
            peak_memory=peak_memory(fabric.device),
        )
    fabric.barrier()
