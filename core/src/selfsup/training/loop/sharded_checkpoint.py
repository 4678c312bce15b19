"""Save and load the sharded part of a checkpoint (FSDP2): each process writes its own shards.

The format is torch's distributed checkpoint with safetensors files (``HuggingFaceStorageWriter``), which any number of
processes can read. Torch's own files (``FileSystemWriter``) would need pickle.

Tensors that every device has whole (buffers, scalars) and settings are in ``last.pt``, which names the folder of the shards.
The checkpoint is complete once that file exists; the folder of the previous one is removed after that.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup.errors import CheckpointError
from selfsup.runtime.files import storage_error, storage_errors

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

_PREFIX = "last-"
_TASK, _OPTIMIZER = "task.", "optimizer."


def split_states(module: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """The states of a module and its optimizer without sharded tensors, and the sharded tensors by name."""
    task, spread, known = {}, {}, set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not _is_spread(tensor):
            task[name] = tensor.detach() if isinstance(tensor, Tensor) else tensor
        elif id(tensor) not in known:  # a weight that two modules share is written once
            known.add(id(tensor))
            spread[_TASK + name] = tensor.detach()
    held, names = optimizer.state_dict(), _trained(module, optimizer)
    states: dict[int, dict[str, Any]] = {}
    for index, values in held["state"].items():
        states[index] = {key: value for key, value in values.items() if not _is_spread(value)}
        for key, value in values.items():
            if _is_spread(value):
                spread[f"{_OPTIMIZER}{names[index]}.{key}"] = value
    return task, {**held, "state": states}, spread


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


def read_parts(folder: Path, module: nn.Module, optimizer: Optimizer, states: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Restore what :func:`split_states` returned, on any number of processes; all of them call this together.

    Args:
        folder: from :func:`write_parts`.
        module: whole or sharded.
        optimizer: of its weights, in the same order.
        states: of module and optimizer, without the sharded tensors.

    Raises:
        CheckpointError: the folder is missing, damaged, or of another network.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    task, held = states
    parameters, names = dict(module.named_parameters()), _trained(module, optimizer)
    places = {name: index for index, name in enumerate(names)}
    found = {index: dict(values) for index, values in held["state"].items()}
    try:
        reader = HuggingFaceStorageReader(str(folder))
        wanted: dict[str, Any] = {}
        own = module.state_dict(keep_vars=True)
        for name, written in reader.read_metadata().state_dict_metadata.items():
            if name.startswith(_TASK):
                wanted[name] = own[name.removeprefix(_TASK)].detach()
            else:
                weight, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
                wanted[name] = found[places[weight]][key] = torch.zeros_like(parameters[weight].detach())
            if sum(part.sizes.numel() for part in cast("TensorStorageMetadata", written).chunks) != wanted[name].numel():
                raise ValueError(f"{name} is not whole")
        read = {id(own[name]) for name in (*task, *(n.removeprefix(_TASK) for n in wanted if n.startswith(_TASK)))}
        if missing := [name for name, tensor in own.items() if id(tensor) not in read]:
            raise KeyError(f"it lacks {missing[0]}")
        module.load_state_dict(task, strict=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # in a single process
            load(wanted, storage_reader=reader, no_dist=not dist.is_initialized())
    except (CheckpointException, SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint's folder {folder} cannot be read ({type(error).__name__}: {error}). It is damaged or of another "
            "network: restore it, or start a new run in another folder (--out)."
        ) from error
    optimizer.load_state_dict({**held, "state": found})


def _trained(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """Names of an optimizer's parameters, in the order in which it counts them."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _is_spread(value: Any) -> bool:
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(value, distributed.DTensor)
