"""Divide batches over processes that compute together; each process gets all outputs."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch.distributed as dist

from selfsup.errors import RunError
from selfsup.runtime.distributed import rank, world_size

T = TypeVar("T")

MEETING_SECONDS = 1800
"""How long a process waits for the others to make the same call: the default of torch."""


@contextmanager
def meeting(*kinds: type[Exception]) -> Iterator[None]:
    """Explain errors of these kinds inside, where processes wait for each other.

    Raises:
        RunError: a process did not make the call, or it died.
    """
    try:
        yield
    except kinds as error:
        reason = str(error).partition("\n")[0]
        raise RunError(
            "The processes that torchrun or srun started did not meet. All of them call evaluate, finetune and embed together: "
            "take the call out of `if rank == 0:` (the first process alone writes the files), or make it in a script that is "
            f"started as one process. If all of them made it, one of them died. The reason given is: {reason}"
        ) from error


_cpu_groups: list[tuple[object, dist.ProcessGroup]] = []
"""The default group of this process, and the group on the CPU that belongs to it."""


def _cpu_group() -> dist.ProcessGroup:
    """All processes on the CPU, so that it does not matter what the devices can send.

    It is made once: each group has threads and descriptors of its own.
    """
    if not _cpu_groups or _cpu_groups[0][0] is not dist.group.WORLD:
        with meeting(RuntimeError):
            group = dist.new_group(backend="gloo", timeout=datetime.timedelta(seconds=MEETING_SECONDS))
        _cpu_groups[:] = [(dist.group.WORLD, cast(dist.ProcessGroup, group))]
    return _cpu_groups[0][1]


class WorkDivision:
    """Divides items over all processes in turn: process k of n computes the items k, k + n, ..., and each gets all outputs.

    All processes make one together, and call :meth:`outputs` together. In one process it does nothing.
    """

    def __init__(self) -> None:
        self._rank, self._processes = rank(), world_size()
        self._group = _cpu_group() if self._processes > 1 else None

    def meet(self) -> None:
        """Wait for all processes.

        Raises:
            RunError: one of them does not come.
        """
        if self._group is not None:
            with meeting(RuntimeError):
                dist.monitored_barrier(self._group, datetime.timedelta(seconds=MEETING_SECONDS))

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this process."""
        return items[self._rank :: self._processes]

    def outputs(self, own: Iterable[T], count: int) -> Iterator[T]:
        """The outputs of all items, in their order.

        Args:
            own: outputs of this process's items, in their order; tensors in them are on the CPU.
            count: number of items of all processes.
        """
        if self._group is None:
            yield from own
            return
        mine = iter(own)
        for start in range(0, count, self._processes):
            outputs: list[Any] = [None] * self._processes
            has_one = start + self._rank < count
            dist.all_gather_object(outputs, next(mine) if has_one else None, group=self._group)
            yield from outputs[: count - start]


_divisions: list[WorkDivision] = []


@contextmanager
def divided_work() -> Iterator[None]:
    """While entered, all processes make the same calls, and what is embedded is divided among them.

    Raises:
        RunError: a process does not enter it.
    """
    division = WorkDivision()
    division.meet()
    _divisions.append(division)
    try:
        yield
    finally:
        _divisions.pop()


def work_division() -> WorkDivision | None:
    """The division of :func:`divided_work`; None outside of it: each process works for itself."""
    return _divisions[-1] if _divisions else None
