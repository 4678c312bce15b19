"""Check that processes, and chunks of a batch, give the gradients of one process on the whole batch.

Contrastive losses gather, statistics are shared, batch norm syncs, and means count by what they are over. The halves of the
batch that is compared have clearly unequal numbers of tokens, so that a mean over a process's own tokens shows.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from socket import socket
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from selfsup.runtime.distributed import convert_sync_batchnorm
from selfsup.tasks import ComparesEmbeddings, PretextTask
from selfsup.tasks.base import InputChange
from selfsup.testing.kit.cases import TaskCase
from selfsup.testing.kit.joined_batch import PROCESSES, forward_joined, halves, train_joined
from selfsup.testing.kit.processes import LONGEST_SECONDS, run_in_processes
from selfsup.testing.kit.task_checks import generator
from selfsup.training.device.devices import Devices
from selfsup.training.device.fabric import Fabric
from selfsup.training.loop import sharding
from selfsup.training.loop.step_mean import joined, weighted_by_share
from selfsup.training.loop.stepper import Stepper, split_batch
from selfsup.training.run.config import OptimizationConfig
from selfsup.types import Batch

TOLERANCE = 1e-2
"""Largest relative difference of all gradients together: float32 sums in another order, through batch norms. A gather without
gradients, statistics that are not shared, or a mean over a process's own tokens, change several per cent and more."""

CHUNK_TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
"""The same for chunks one after the other, which do what the whole batch does."""

TRAINING_TOLERANCES = {torch.float32: 1e-2, torch.float64: 1e-6}
"""The same for the way that weights and buffers have gone after some steps."""
_CASE_SECONDS = 120.0
"""For a task on a busy machine, in addition to the start of the processes."""
_DESCENT = OptimizationConfig(
    optimizer="sgd", lr=0.005, momentum=0.0, weight_decay=0.0, schedule="constant", clip=None, warmup_fraction=0.0
)
"""A rate at which no loss diverges: rounding would grow with it, and hide whether the two sides do the same."""


def one_process_gradients(case: TaskCase) -> dict[str, Tensor]:
    """Gradients of one process that has the whole batch, each half with the draws that its process makes."""
    task = case.task()
    torch.autograd.backward(forward_joined(task, case.uneven_batch(), [generator(rank) for rank in range(PROCESSES)]).loss)
    return gradients(task)


def gradients(task: nn.Module) -> dict[str, Tensor]:
    """Name to gradient."""
    return {name: parameter.grad.clone() for name, parameter in task.named_parameters() if parameter.grad is not None}


def _process(rank: int, cases: Sequence[TaskCase], folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    try:
        for number, case in enumerate(cases):
            try:
                task = convert_sync_batchnorm(case.task())
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
        run_in_processes(PROCESSES, _process, list(cases), folder)
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


def check_training_on_devices(
    cases: Sequence[TaskCase], *, processes: int = 2, strategy: Literal["ddp", "fsdp"] = "ddp", steps: int = 10
) -> dict[str, str]:
    """Train on several gloo processes as a run does, and compare with one process on the joined batches; id to what differs.

    Losses of all steps, and weights and buffers after the last one, must agree: to 1e-6 in float64, and to 1e-2 where a network
    computes in float32. Each batch has rows of clearly unequal lengths, and each process draws its own views and masks. Batch
    norm is synchronised, and queues have the rows of all processes in their order. What differs by design is told to the one
    process: k-means takes its new centroids from the rows of the first process.

    Args:
        cases: the tasks, with seven rows for each process.
        processes: how many.
        strategy: ``ddp``, or ``fsdp`` with sharded weights.
        steps: of plain gradient descent, so that the size of each gradient counts.
    """
    if not cases:
        return {}
    cases = [replace(case, rows=7 * processes) for case in cases]
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        longest = LONGEST_SECONDS + _CASE_SECONDS * len(cases)
        run_in_processes(processes, _train_together, cases, folder, processes, port, strategy, steps, longest=longest)
        for number, case in enumerate(cases):
            error = Path(folder) / f"{number}.error"
            if error.exists():
                failures[case.spec.id] = error.read_text()
                continue
            theirs = torch.load(Path(folder) / f"{number}.pt", weights_only=True)
            if failure := _training_difference(case, processes, steps, theirs):
                failures[case.spec.id] = failure
    return failures


def _train_together(
    rank: int, cases: Sequence[TaskCase], folder: str, processes: int, port: int, strategy: Literal["ddp", "fsdp"], steps: int
) -> None:
    """Train each case as one of several processes, like those that torchrun starts."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "kit", "GROUP_RANK": "0",
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
    }  # fmt: skip
    for number, case in enumerate(cases):
        fabric = Devices("cpu", "32", processes, 1, strategy).connect()
        dtype = torch.float64 if _takes_float64(case) else torch.float32
        try:
            task = _prepare(convert_sync_batchnorm(case.task()), dtype, norms=True)
            given = generator(rank)
            stepper = Stepper(
                fabric, task, _DESCENT, total_steps=steps, warmup_steps=0, generator=given, scales=defaultdict(lambda: 1.0)
            )
            for step in range(steps):
                stepper.take(list(split_batch(_cast(case.uneven_batch(step % 2), dtype), processes))[rank])
            losses = torch.tensor(stepper.drain(), dtype=torch.float64)
            state = {name: sharding.whole(value.detach()).clone() for name, value in task.state_dict().items()}
        except Exception as error:  # as above
            (Path(folder) / f"{number}.error").write_text(f"{type(error).__name__}: {error}")
            continue
        if rank == 0:
            torch.save({"losses": losses, "state": state}, Path(folder) / f"{number}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _training_difference(case: TaskCase, processes: int, steps: int, theirs: dict[str, Any]) -> str:
    """Train on the joined batches in this process, and say what differs; empty if nothing does."""
    dtype = torch.float64 if _takes_float64(case) else torch.float32
    task = _prepare(case.task(), dtype, norms=True)
    start = {name: value.clone() for name, value in task.state_dict().items()}
    batches = [_cast(case.uneven_batch(step % 2), dtype) for step in range(steps)]
    losses = train_joined(task, batches, [generator(rank) for rank in range(processes)], _DESCENT.peak_lr())
    tolerance = TRAINING_TOLERANCES[dtype]
    off = (torch.tensor(losses, dtype=torch.float64) - theirs["losses"]).abs()
    if bool((off > tolerance * (1 + theirs["losses"].abs())).any()):
        return f"the loss of step {int(off.gt(tolerance).nonzero()[0]) + 1} differs by {float(off.max()):.2g} at most"
    ours = task.state_dict()
    if ours.keys() != theirs["state"].keys():
        return f"{sorted(ours.keys() ^ theirs['state'].keys())} exist on one side only"
    moved = torch.stack([(value.double() - start[name].double()).norm() for name, value in ours.items()]).norm()
    apart = {name: float((value.double() - theirs["state"][name].double()).norm()) for name, value in ours.items()}
    worst = max(apart, key=lambda name: apart[name])
    share = float(torch.tensor(list(apart.values())).norm() / moved)
    return "" if share < tolerance else f"after {steps} steps {share:.2g} of the way differs, most of all in {worst}"


def _takes_float64(case: TaskCase) -> bool:
    """Whether the task can be in float64; some networks compute in float32 whatever their weights are in."""
    try:
        _prepare(case.task(), torch.float64, norms=True)(_cast(case.batch(), torch.float64), generator())
    except RuntimeError:
        return False
    return True


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = TOLERANCE) -> str:
    """How two sets of gradients differ; empty where they agree within ``tolerance``."""
    if ours.keys() != theirs.keys():
        return f"gradients of {sorted(ours.keys() ^ theirs.keys())} exist on one side only"
    whole = torch.stack([g.norm() for g in ours.values()]).norm()
    worst = max(ours, key=lambda name: float((ours[name] - theirs[name]).norm()))
    relative = float(torch.stack([(ours[name] - theirs[name]).norm() for name in ours]).norm() / whole)
    return "" if relative < tolerance else f"gradients differ by {relative:.2%} of their norm, most of all in {worst}"


def check_accumulated_chunks(case: TaskCase, chunks: int = 3, dtype: torch.dtype | None = None) -> None:
    """A batch cut into chunks gives loss and gradient of the whole batch, and the buffers where embeddings are compared.

    A task that couples samples and does not compare embeddings is left out: it says so itself, and a run warns. Batch norms are
    in evaluation mode, since they see chunk by chunk. Draws are those of the chunks, in the whole batch here as well.

    Args:
        case: the task.
        chunks: how many; those of the kit's batch are of unequal size.
        dtype: of the weights and the batch; None: float64 where embeddings are compared and the network can be in it, else
            float32.
    """
    case = case.on("cpu")
    task = case.task()
    compares = isinstance(task, ComparesEmbeddings)
    if task.couples_samples and not compares:
        return
    if dtype is None:
        try:
            check_accumulated_chunks(case, chunks, torch.float64 if compares else torch.float32)
        except RuntimeError:  # of a network that computes in float32 whatever its weights are in; other errors come again
            check_accumulated_chunks(case, chunks, torch.float32)
        return
    _prepare(task, dtype)
    # The middle half has short rows and long ones, and is as good as all.
    middle = slice(case.rows // 4 + 1, case.rows // 4 + 1 + case.rows // 2) if compares else slice(None)
    batch, drawn = _cast({key: value[middle] for key, value in case.uneven_batch().items()}, dtype), generator()
    states: list[Tensor] = []
    found: dict[str, Tensor] = {}

    def note_state(module: nn.Module, arguments: Any) -> None:
        states.append(drawn.get_state())

    def note_gradients(progress: float) -> None:
        found.update(gradients(task))

    def note_nothing(progress: float) -> None:
        """Buffers are compared as they are before the step."""

    task.register_forward_pre_hook(note_state)
    task.after_backward, task.after_step = note_gradients, note_nothing  # type: ignore[method-assign]
    config = OptimizationConfig(optimizer="sgd", lr=1e-3, accumulate=chunks)
    stepper = Stepper(Fabric(accelerator="cpu", devices=1), task, config, total_steps=2, warmup_steps=0, generator=drawn)
    stepper.take(batch)
    (loss,) = stepper.drain()
    whole = _prepare(case.task(), dtype)
    comparing = generator().set_state(states[chunks]) if len(states) > chunks else None
    output = forward_joined(whole, batch, [generator().set_state(state) for state in states[:chunks]], comparing=comparing)
    torch.autograd.backward(output.loss)
    name, tolerance = f"accumulate={chunks}", CHUNK_TOLERANCES[dtype]
    failure = difference(gradients(whole), found, tolerance)
    assert not failure, f"{name} against the whole batch: {failure}"
    expected = float(output.loss.detach())
    assert abs(loss - expected) <= tolerance * max(abs(expected), 1), f"{name} logs a loss of {loss}, not {expected}"
    if compares:
        _check_buffers(task, whole, tolerance, name)


def _prepare(task: PretextTask, dtype: torch.dtype, *, norms: bool = False) -> PretextTask:
    """In place: put the task in one precision; without ``norms``, its batch norms look at one sample at a time.

    What makes the network's input (views, corruptions, transformations) computes in float32, as in every run.
    """
    for module in task.to(dtype).modules():
        if isinstance(module, _BatchNorm) and not norms:
            module.eval()
        if isinstance(module, InputChange) and dtype != torch.float32:
            module.to(torch.float32)
            module.forward = _in_float32(module.forward, dtype)
    return task


def _in_float32(forward: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    def change(batch: Batch, generator: torch.Generator | None) -> Any:
        return _cast(forward(_cast(batch, torch.float32), generator), dtype)

    return change


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Tensors of real numbers in one precision, in the dictionaries, lists and tuples that hold them."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _cast(own, dtype) for key, own in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_cast(own, dtype) for own in value))
    return type(value)(_cast(own, dtype) for own in value) if isinstance(value, list | tuple) else value


def _check_buffers(ours: nn.Module, theirs: nn.Module, tolerance: float, name: str) -> None:
    expected = dict(theirs.named_buffers())
    for key, buffer in ours.named_buffers():
        same = torch.allclose(buffer.double(), expected[key].double(), rtol=tolerance, atol=tolerance)
        assert same, f"{name} leaves another {key} than the whole batch"
