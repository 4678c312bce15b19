"""Processes, and parts one after the other, must give one process's gradients on the whole batch.

Contrastive losses gather, statistics are shared, batch norm syncs, and means count by what they are over. The halves of the
batch that is compared have clearly unequal numbers of tokens, so that a mean over a process's own tokens shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from selfsup.objectives.distributed import convert_sync_batchnorm
from selfsup.testing.cases import TaskCase
from selfsup.testing.joined_batch import PARTS, forward_joined, halves
from selfsup.testing.task_checks import generator
from selfsup.training.config import OptimizationConfig
from selfsup.training.step_mean import joined, weighted_by_share
from selfsup.training.stepper import Stepper

TOLERANCE = 1e-2
"""Largest relative difference of all gradients together: float32 sums in another order, through batch norms. A gather without
gradients, statistics that are not shared, or a mean over a part's own tokens, change several per cent and more."""


def one_process_gradients(case: TaskCase) -> dict[str, Tensor]:
    """Gradients of one process that has the whole batch, each half with the draws that its process makes."""
    task = case.build()
    torch.autograd.backward(forward_joined(task, case.uneven_batch(), [generator(rank) for rank in range(PARTS)]).loss)
    return gradients(task)


def gradients(task: nn.Module) -> dict[str, Tensor]:
    """Name to gradient."""
    return {name: parameter.grad.clone() for name, parameter in task.named_parameters() if parameter.grad is not None}


def _process(rank: int, cases: Sequence[TaskCase], folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PARTS)
    try:
        for number, case in enumerate(cases):
            try:
                task = convert_sync_batchnorm(case.build())
                wrapped = DistributedDataParallel(task)
                output = wrapped(halves(case.uneven_batch())[rank], generator(rank))
                torch.autograd.backward(weighted_by_share(joined(output)))
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
            _process, args=(list(cases), folder), nprocs=PARTS
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


def check_accumulated_parts(case: TaskCase) -> None:
    """A batch cut in two gives the gradient and the loss of the whole batch, unless the task says that it couples samples.

    Batch norm sees the parts one by one, in the whole batch here as well.
    """
    task = case.build()
    if task.couples_samples:
        return
    batch, drawn = case.uneven_batch(), generator()
    states, found = [], {}

    def note_state(module: nn.Module, arguments: Any) -> None:
        states.append(drawn.get_state())

    def note_gradients(progress: float) -> None:
        found.update(gradients(task))

    task.register_forward_pre_hook(note_state)
    task.after_backward = note_gradients  # type: ignore[method-assign]
    config = OptimizationConfig(optimizer="sgd", lr=1e-3, accumulate=PARTS)
    stepper = Stepper(Fabric(accelerator="cpu", devices=1), task, config, total_steps=2, warmup_steps=0, generator=drawn)
    stepper.take(batch)
    (loss,) = stepper.drain()
    whole = case.build()
    output = forward_joined(whole, batch, [generator().set_state(state) for state in states], norms_apart=True)
    torch.autograd.backward(output.loss)
    failure = difference(gradients(whole), found)
    assert not failure, f"accumulate=2 against the whole batch: {failure}"
    expected = float(output.loss.detach())
    assert abs(loss - expected) <= 1e-4 * max(abs(expected), 1), f"accumulate=2 logs a loss of {loss}, not {expected}"
