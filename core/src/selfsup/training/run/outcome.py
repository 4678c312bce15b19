"""Record in ``run.json`` how a run begins and ends."""

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
    """False while a resumed run may still be refused; then ``run.json`` stays unchanged."""
    status: Status = "done"


def begin(outcome: Outcome, directory: RunDirectory, continued: Mapping[str, Any], fabric: Fabric, reporter: Reporter) -> None:
    """Mark a resumed run as running, after all processes have accepted its checkpoint; all of them call this.

    Args:
        outcome: of the run, from :func:`recorded`.
        directory: the run's folder.
        continued: from :func:`~selfsup.training.run.resume.continuation`.
        fabric: the devices.
        reporter: shows what has changed.
    """
    fabric.barrier()
    if fabric.global_rank == 0 and not outcome.begun:
        directory.update(status="running", **continued)
        if "history" in continued:
            reporter.message(describe_continuation(continued["history"]))
    outcome.begun = True


@contextmanager
def recorded(directory: RunDirectory, fabric: Fabric, *, begun: bool) -> Iterator[Outcome]:
    """Write into ``run.json`` how a run ended, if it had begun.

    Args:
        directory: the run's folder.
        fabric: the devices; the first process writes.
        begun: False for a resumed run, until :func:`begin`.
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
            with suppress(SelfsupError):  # on a full disk, the original error says so
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
