"""Save and load the sharded part of a checkpoint (FSDP2): each process writes its own shards.

The format is torch's distributed checkpoint with safetensors files (``HuggingFaceStorageWriter``), which any number of
processes can read. Torch's own files (``FileSystemWriter``) would need pickle.

Tensors that every device has whole (buffers, scalars) and settings are in ``last.pt``, which names the folder of the shards.
The checkpoint is complete once that file exists; the folder of the previous one is removed after that.
"""

from __future__ import annotations

import secrets
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup.errors import CheckpointError
from selfsup.runtime.files import storage_error, storage_errors
from selfsup.training.loop.sharding import is_spread

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

_PREFIX = "last-"
_TASK, _OPTIMIZER, _AVERAGE = "task.", "optimizer.", "average."


class States(NamedTuple):
    """States of a training without sharded tensors."""

    task: dict[str, Any]
    optimizer: dict[str, Any]
    average: dict[str, Any] | None
    """Of the moving average; None: there is none."""


def split_states(module: nn.Module, optimizer: Optimizer, average: nn.Module | None) -> tuple[States, dict[str, Tensor]]:
    """The states of a module, its optimizer and its moving average without sharded tensors, and the sharded tensors by name."""
    spread: dict[str, Tensor] = {}
    task = _without_spread(module, _TASK, spread)
    averaged = None if average is None else _without_spread(average, _AVERAGE, spread)
    held, names = optimizer.state_dict(), _trained(module, optimizer)
    states: dict[int, dict[str, Any]] = {}
    for index, values in held["state"].items():
        states[index] = {key: value for key, value in values.items() if not is_spread(value)}
        for key, value in values.items():
            if is_spread(value):
                spread[f"{_OPTIMIZER}{names[index]}.{key}"] = value
    return States(task, {**held, "state": states}, averaged), spread


def _without_spread(module: nn.Module, prefix: str, spread: dict[str, Tensor]) -> dict[str, Any]:
    """The state of a module without its sharded tensors, which are added to ``spread``."""
    state, known = {}, set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not is_spread(tensor):
            state[name] = tensor.detach() if isinstance(tensor, Tensor) else tensor
        elif id(tensor) not in known:  # a weight that two modules share is written once
            known.add(id(tensor))
            spread[prefix + name] = tensor.detach()
    return state


def write_parts(checkpoints: Path, step: int, spread: Mapping[str, Tensor]) -> str | None:
    """Write the sharded tensors into a new folder; all processes call this together.

    Args:
        checkpoints: folder of the checkpoints.
        step: optimizer step, for the name.
        spread: from :func:`split_states`.

    Returns:
        The folder's name; None: nothing is sharded.

    Raises:
        StorageError: the disk of a process is full or cannot be written.
        CheckpointError: a process failed for another reason.
    """
    if not spread:
        return None
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    names: list[Any] = [f"{_PREFIX}{step}-{secrets.token_hex(4)}"]
    dist.broadcast_object_list(names)
    folder = checkpoints / names[0]
    parts = {name: tensor if tensor.is_contiguous() else tensor.contiguous() for name, tensor in spread.items()}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        save(parts, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as failure:
        if dist.get_rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        error = next(iter(failure.failures.values()))[0]
        if isinstance(error, OSError):
            raise storage_error(folder, error) from failure
        raise CheckpointError(f"the checkpoint {folder} could not be written ({type(error).__name__}: {error}).") from failure
    return str(names[0])


def remove_other_parts(checkpoints: Path, kept: str | None) -> None:
    """Remove the shards of earlier and of incomplete checkpoints."""
    for folder in checkpoints.glob(f"{_PREFIX}*"):
        if folder.is_dir() and folder.name != kept:
            shutil.rmtree(folder, ignore_errors=True)


def read_parts(folder: Path, module: nn.Module, optimizer: Optimizer, average: nn.Module | None, states: States) -> None:
    """Restore what :func:`split_states` returned, on any number of processes; all of them call this together.

    Args:
        folder: from :func:`write_parts`.
        module: whole or sharded.
        optimizer: of its weights, in the same order.
        average: its moving average; None: there is none.
        states: without the sharded tensors.

    Raises:
        CheckpointError: the folder is missing, damaged, or of another network.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    parameters, names = dict(module.named_parameters()), _trained(module, optimizer)
    places = {name: index for index, name in enumerate(names)}
    found = {index: dict(values) for index, values in states.optimizer["state"].items()}
    own = {_TASK + name: tensor for name, tensor in module.state_dict(keep_vars=True).items()}
    whole = {_TASK + name: value for name, value in states.task.items()}
    if average is not None:
        own |= {_AVERAGE + name: tensor for name, tensor in average.state_dict(keep_vars=True).items()}
        whole |= {_AVERAGE + name: value for name, value in (states.average or {}).items()}
    try:
        reader = HuggingFaceStorageReader(str(folder))
        wanted: dict[str, Any] = {}
        for name, written in reader.read_metadata().state_dict_metadata.items():
            if not name.startswith(_OPTIMIZER):
                wanted[name] = own[name].detach()
            else:
                weight, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
                wanted[name] = found[places[weight]][key] = torch.zeros_like(parameters[weight].detach())
            if sum(part.sizes.numel() for part in cast("TensorStorageMetadata", written).chunks) != wanted[name].numel():
                raise ValueError(f"{name} is not whole")
        read = {id(own[name]) for name in (*whole, *wanted) if not name.startswith(_OPTIMIZER)}
        if missing := [name for name, tensor in own.items() if id(tensor) not in read]:
            raise KeyError(f"it lacks {missing[0]}")
        module.load_state_dict(states.task, strict=False)
        if average is not None:
            average.load_state_dict(states.average or {}, strict=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # in a single process
            load(wanted, storage_reader=reader, no_dist=not dist.is_initialized())
    except (CheckpointException, SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint's folder {folder} cannot be read ({type(error).__name__}: {error}). It is damaged or of another "
            "network: restore it, or start a new run in another folder (--out)."
        ) from error
    optimizer.load_state_dict({**states.optimizer, "state": found})


def _trained(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """Names of an optimizer's parameters, in the order in which it counts them."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
