"""What the processes of a run agree on while each reads its own rows: whether all have another batch, or one has failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from selfsup.errors import DataError, error_named

T = TypeVar("T")
_FAILED = -1


class Agreement:
    """Collectives of all processes, on the CPU, so no device waits. In one process they are the identity.

    Args:
        world_size: number of processes.
        timeout: how long one may wait for the others; None: torch's default, which is 30 minutes.
    """

    def __init__(self, world_size: int, timeout: timedelta | None = None) -> None:
        self._world_size = world_size
        self._group = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=timeout)) if world_size > 1 else None
        self.failed = False
        """Whether a process had an error, and all of them know it."""

    @property
    def several(self) -> bool:
        """Whether there are several processes."""
        return self._group is not None

    def all_have(self, mine: bool, error: Exception | None = None) -> bool:
        """Whether this holds for every process.

        Args:
            mine: whether it holds for this process.
            error: what went wrong in this process.

        Raises:
            Exception: a process has an error. Each raises its own, or the first other one's (as a :class:`DataError`, if its
                class is not of :mod:`selfsup.errors`), so that all processes stop at the same place.
        """
        if self._group is not None:
            states = torch.tensor(_FAILED if error is not None else int(mine))
            dist.all_reduce(states, op=dist.ReduceOp.MIN, group=self._group)
            if int(states) == _FAILED:
                self.failed = True
                raise self._error(error)
            mine = bool(states)
        if error is not None:
            raise error
        return mine

    def gathered(self, mine: T) -> list[T]:
        """The values of all processes, by rank."""
        if self._group is None:
            return [mine]
        values: list[Any] = [None] * self._world_size
        dist.all_gather_object(values, mine, group=self._group)
        return values

    def from_first(self, work: Callable[[], T]) -> T:
        """What this gives on the first process, which alone does it; all call this together, and get its error, if it has one.

        Raises:
            Exception: of the first process; the others get a :class:`DataError`, if its class is not of :mod:`selfsup.errors`.
        """
        if self._group is None:
            return work()
        told: list[Any] = [None]
        own: Exception | None = None
        if dist.get_rank() == 0:
            try:
                told = [(work(), None)]
            except Exception as error:
                own, told = error, [(None, (type(error).__name__, str(error)))]
        dist.broadcast_object_list(told, group=self._group)
        result, failed = told[0]
        if own is not None:
            raise own
        if failed is not None:
            raise error_named(*failed) or DataError(f"process 0 of {self._world_size} failed: {failed[0]}: {failed[1]}")
        return cast(T, result)

    def _error(self, own: Exception | None) -> Exception:
        told = self.gathered(None if own is None else (type(own).__name__, str(own)))
        if own is not None:
            return own
        rank, (kind, text) = next((rank, each) for rank, each in enumerate(told) if each is not None)
        where = f"process {rank} of {self._world_size} cannot read its next batch"
        return error_named(kind, f"{where}: {text}") or DataError(f"{where}: {kind}: {text}")
