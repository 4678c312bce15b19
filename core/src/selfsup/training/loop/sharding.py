"""Weights that are spread over devices (FSDP2): gathered to look at them, whole in checkpoints.

torch's modules for it take a second to import, so they are imported by runs that use them only.
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
    """Spread every parameter over the devices, in place; a network and its moving average are then cut alike."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(module, mesh=mesh["data_parallel"])
    return module


def is_sharded(module: nn.Module) -> bool:
    """Whether :func:`shard` spread its parameters."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(module, fsdp.FSDPModule)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """While entered, the weights are plain and whole on every device; all devices must enter together."""
    if not is_sharded(module):
        yield
        return
    sharded = cast("FSDPModule", module)
    sharded.unshard()
    try:
        yield
    finally:
        sharded.reshard()


def get_states(module: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whole states of a module and its optimizer; all devices must call together, and the first one gets them."""
    if not is_sharded(module):
        return module.state_dict(), optimizer.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(module, options=options), get_optimizer_state_dict(module, optimizer, options=options)


def set_states(module: nn.Module, optimizer: Optimizer, states: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Go back to what :func:`get_states` gave, each device taking its part."""
    if not is_sharded(module):
        module.load_state_dict(states[0])
        optimizer.load_state_dict(states[1])
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict, set_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True)
    set_model_state_dict(module, states[0], options=options)
    set_optimizer_state_dict(module, optimizer, states[1], options=options)


def whole_part(module: M, root: nn.Module, build: Callable[[], M]) -> M:
    """A part of a network with whole weights: itself, or where they are spread over devices a new one that is filled with them.

    All devices must call together where weights are spread; the first one then gets the weights.

    Args:
        module: the part.
        root: what was given to :func:`shard`.
        build: makes a new part of the same kind.
    """
    if not is_sharded(root):
        return module
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    prefix = next(name for name, part in root.named_modules() if part is module) + "."
    state = get_model_state_dict(root, options=options)
    part = build()
    if state:
        part.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    return part


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is not spread over devices; all devices must call together where it is."""
    distributed = sys.modules.get("torch.distributed.tensor")
    if distributed is None or not isinstance(tensor, distributed.DTensor):
        return tensor
    return cast(Tensor, tensor.full_tensor())


def own_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies on this device, in the same memory: all of it where it is not spread over devices."""
    distributed = sys.modules.get("torch.distributed.tensor")
    if distributed is None or not isinstance(tensor, distributed.DTensor):
        return tensor
    return cast(Tensor, tensor.to_local())


def all_finite(module: nn.Module) -> bool:
    """Whether every weight is finite; one wait for the device. All devices must call together where weights are spread."""
    norms = torch._foreach_norm([parameter.detach() for parameter in module.parameters()])
    return not norms or bool(torch.isfinite(torch.stack([whole(norm).float() for norm in norms])).all())
