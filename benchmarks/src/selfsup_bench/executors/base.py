"""What an executor is: it runs jobs somewhere and says how each ended."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from selfsup_bench.cells.cell import Cell

if TYPE_CHECKING:
    from selfsup.registry import Registry


@dataclass(frozen=True)
class Job:
    """A cell and where its results go."""

    key: str
    cell: Cell
    out: Path
    """Folder of the benchmark, reachable from wherever the job runs."""
    circumstances: Mapping[str, Any]
    threads: int = 1
    """CPU threads that it may use."""
    device: str = "auto"
    """``auto``, ``cpu`` or ``gpu``."""
    draw: bool = False
    """Whether test embeddings are drawn in two dimensions too; takes seconds, so only for the first seed."""
    seconds: float | None = None
    """After so long it is ended, and its record says so; None: it takes what it takes."""

    @property
    def folder(self) -> Path:
        """The cell's own folder, for its run and its log."""
        return self.out / "cells" / f"{self.cell.name}-{self.key[:8]}"

    @property
    def log(self) -> Path:
        """What the cell printed."""
        return self.folder / "log.txt"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "key": self.key,
            "cell": self.cell.as_dict(),
            "out": str(self.out),
            "circumstances": dict(self.circumstances),
            "threads": self.threads,
            "device": self.device,
            "draw": self.draw,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**values, "cell": Cell.from_dict(values["cell"]), "out": Path(values["out"])})


@dataclass(frozen=True)
class Outcome:
    """How a job ended. The measurements are in the record that the job wrote itself."""

    job: Job
    error: str = ""
    """Empty, or how the process ended, if it could not even say so itself."""


Ending = Literal["done", "failed", "out-of-memory"]
"""How a cell ended that could say so itself."""


class Executor(Protocol):
    """Runs the cells of a benchmark; the target of an :class:`~selfsup.registry.specs.ExecutorSpec` is such a class.

    It is made with ``parallel`` (jobs at a time; 0: as it sees fit), ``on_start`` (called with a job when it begins, or is
    handed in where its beginning cannot be seen) and the user's own ``options``, names to text.
    """

    def run(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Run every job and yield its outcome as it ends. A job that dies takes no other with it.

        Closing the iterator ends the jobs that are still running.
        """
        ...


MakeExecutor = Callable[[Callable[[Job], None]], Executor]


@dataclass(frozen=True)
class Machine:
    """Where the cells of own data run, and how progress is reported."""

    registry: Registry
    make_executor: MakeExecutor
    jobs: int
    """Cells at a time."""
    threads: int
    device: str
    """``auto``, ``cpu`` or ``gpu``."""
    kind: str
    """``cpu``, or the kind of an accelerator."""
    say: Callable[[str], None]
