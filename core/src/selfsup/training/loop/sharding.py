"""Shard weights over devices and gather them (FSDP2).

Torch's modules for it take a second to import, so only runs that use them import them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule

M = TypeVar("M", bound=nn.Module)


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard every parameter over the devices, in place; a network and its moving average are sharded in the same way."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(module, mesh=mesh["data_parallel"])
    return module


def is_sharded(module: nn.Module) -> bool:
    """Whether :func:`shard` was applied."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(module, fsdp.FSDPModule)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """While entered, every device has the whole weights; all devices must enter together."""
    if not is_sharded(module):
        yield
        return
    sharded = cast("FSDPModule", module)
    sharded.unshard()
    try:
        yield
    finally:
        sharded.reshard()


def whole_state(module: nn.Module) -> dict[str, Any]:
    """The whole state of a module. If it is sharded, all devices call this together, and the first one gets the state."""
    if not is_sharded(module):
        return module.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def set_states(module: nn.Module, optimizer: Optimizer, states: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Load whole states into a module and its optimizer, each device its shard.

    The optimizer's state may number its parameters, as an optimizer does, or name them, as torch does for sharded weights.
    """
    task, held = states
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    places: dict[Any, int] = {names[id(parameter)]: place for place, parameter in enumerate(parameters)}
    places |= {place: place for place in range(len(parameters))}
    groups = [{**group, "params": [places[key] for key in group["params"]]} for group in held["param_groups"]]
    found = {places[key]: values for key, values in held["state"].items()}
    if not is_sharded(module):
        module.load_state_dict(task)
    else:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        set_model_state_dict(module, task, options=StateDictOptions(full_state_dict=True))
        found = {
            place: {key: _spread_like(parameters[place], value) for key, value in found[place].items()}
            for place in sorted(found)
        }
    optimizer.load_state_dict({"state": found, "param_groups": groups})


def _spread_like(parameter: Tensor, value: Any) -> Any:
    """Shard a value of an optimizer's state like its parameter, if it has the same shape; all devices call this together."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not (isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape):
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def whole_part(module: M, root: nn.Module, build: Callable[[], M]) -> M:
    """A part of a network with whole weights: itself, or if it is sharded, a new module with the gathered weights.

    If it is sharded, all devices call this together, and the first one gets the weights.

    Args:
        module: the part.
        root: the module that was given to :func:`shard`.
        build: makes a new module of the same kind.
    """
    if not is_sharded(root):
        return module
    prefix = next(name for name, part in root.named_modules() if part is module) + "."
    state = whole_state(root)
    part = build()
    if state:
        part.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    return part


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor of a sharded one; all devices call this together."""
    distributed = sys.modules.get("torch.distributed.tensor")
    if distributed is None or not isinstance(tensor, distributed.DTensor):
        return tensor
    return cast(Tensor, tensor.full_tensor())


def own_part(tensor: Tensor) -> Tensor:
    """This device's shard of a tensor, in the same memory; the whole tensor if it is not sharded."""
    distributed = sys.modules.get("torch.distributed.tensor")
    if distributed is None or not isinstance(tensor, distributed.DTensor):
        return tensor
    return cast(Tensor, tensor.to_local())


def all_finite(module: nn.Module) -> bool:
    """Whether every weight is finite, with one device sync. If weights are sharded, all devices call this together."""
    norms = torch._foreach_norm([parameter.detach() for parameter in module.parameters()])
    return not norms or bool(torch.isfinite(torch.stack([whole(norm).float() for norm in norms])).all())
