"""Two processes must give one process's gradients: contrastive losses gather, statistics are shared, batch norm syncs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from selfsup.objectives.distributed import convert_sync_batchnorm
from selfsup.tasks import PretextTask, Views
from selfsup.testing.cases import TaskCase
from selfsup.testing.task_checks import generator
from selfsup.types import Batch

WORLD = 2
TOLERANCE = 1e-2
"""Largest relative difference of all gradients together: float32 sums in another order, through batch norms. A gather without
gradients, or statistics that are not shared, change tens of per cent."""


class _HalvesApart(Views):
    """Makes the views of each half of a batch with the generator of the process that would have had that half."""

    def __init__(self, views: Views) -> None:
        super().__init__()
        self.views = views
        self.n_global, self.n_local = views.n_global, views.n_local

    def forward(self, batch: Batch, generator_: torch.Generator | None) -> list[Batch]:
        # The first half's generator is the task's own: it goes on to draw what the processes share (LeJEPA's slices).
        generators = [generator_, *(generator(rank) for rank in range(1, WORLD))]
        halves = [self.views(half, drawn) for half, drawn in zip(split(batch), generators, strict=True)]
        return [{key: torch.cat([first[key], second[key]]) for key in first} for first, second in zip(*halves, strict=True)]


def split(batch: Batch) -> list[Batch]:
    """The batch's two halves."""
    rows = next(iter(batch.values())).shape[0] // WORLD
    return [{key: value[rank * rows : (rank + 1) * rows] for key, value in batch.items()} for rank in range(WORLD)]


def one_process_gradients(case: TaskCase) -> dict[str, Tensor]:
    """Gradients of one process that has the whole batch.

    A task with views compares samples of the whole batch: its views are drawn for each half as its process would, and batch
    norm is shared between the processes. Any other task's loss is a mean over samples: it is the mean of its halves', each with
    its own batch norm, as it is in the processes then.
    """
    task, batch = case.build(), case.batch()
    if compares_samples(task):
        task.views = _HalvesApart(cast(Views, task.views))
        task(batch, generator(0)).loss.backward()
        return gradients(task)
    halves = []
    for rank, half in enumerate(split(batch)):
        task = case.build()  # anew, since a process does not see the other one's buffers change during its step
        (task(half, generator(rank)).loss / WORLD).backward()
        halves.append(gradients(task))
    return {name: sum((half[name] for half in halves[1:]), halves[0][name]) for name in halves[0]}


def compares_samples(task: PretextTask) -> bool:
    """Whether the task's loss couples the samples of a batch: it makes views."""
    return isinstance(getattr(task, "views", None), Views)


def gradients(task: nn.Module) -> dict[str, Tensor]:
    """Name to gradient."""
    return {name: parameter.grad.clone() for name, parameter in task.named_parameters() if parameter.grad is not None}


def _process(rank: int, cases: Sequence[TaskCase], folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    try:
        for number, case in enumerate(cases):
            try:
                task = case.build()
                if compares_samples(task):
                    task = convert_sync_batchnorm(task)
                wrapped = DistributedDataParallel(task)
                wrapped(split(case.batch())[rank], generator(rank)).loss.backward()
            except Exception as error:  # a broken task must not end the check of the others; it fails on both ranks alike
                (Path(folder) / f"{number}.error").write_text(f"{type(error).__name__}: {error}")
                continue
            if rank == 0:
                torch.save(gradients(task), Path(folder) / f"{number}.pt")
    finally:
        torch.distributed.destroy_process_group()


def check_two_processes(cases: Sequence[TaskCase]) -> dict[str, str]:
    """Compare two gloo processes with one for each case; id to what differs, empty where nothing does.

    One pair of processes serves all cases, since starting them is what takes time.
    """
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(  # type: ignore[attr-defined, no-untyped-call]  # torch leaves it untyped
            _process, args=(list(cases), folder), nprocs=WORLD
        )
        for number, case in enumerate(cases):
            error = Path(folder) / f"{number}.error"
            if error.exists():
                failures[case.spec.id] = error.read_text()
                continue
            ours = one_process_gradients(case)
            theirs = torch.load(Path(folder) / f"{number}.pt", weights_only=True)
            failure = difference(ours, theirs)
            if failure:
                failures[case.spec.id] = failure
    return failures


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str:
    """How two sets of gradients differ; empty where they agree within :data:`TOLERANCE`."""
    if ours.keys() != theirs.keys():
        return f"gradients of {sorted(ours.keys() ^ theirs.keys())} exist on one side only"
    whole = torch.stack([g.norm() for g in ours.values()]).norm()
    worst = max(ours, key=lambda name: float((ours[name] - theirs[name]).norm()))
    relative = float(torch.stack([(ours[name] - theirs[name]).norm() for name in ours]).norm() / whole)
    return "" if relative < TOLERANCE else f"gradients differ by {relative:.2%} of their norm, most of all in {worst}"
