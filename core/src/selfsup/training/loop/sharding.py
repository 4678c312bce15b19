"""Shard weights over devices and gather them (FSDP2).

Torch's modules for it take a second to import, so only runs that use them import them.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup.errors import ConfigError
from selfsup.training.device.blocks import repeated_blocks

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule

M = TypeVar("M", bound=nn.Module)


def shard(module: nn.Module, mesh: DeviceMesh, *, bf16_blocks: bool = False) -> nn.Module:
    """Shard every parameter over the devices, in place, block by block.

    A block (:func:`repeated_blocks`: of the trained networks, their moving averages, frozen teachers and decoders) gathers its
    weights for the time of its computation only; everything else is gathered for a whole step. A network and its moving
    average are sharded in the same way.

    Args:
        module: the task.
        mesh: has the devices as its dimension ``data_parallel``.
        bf16_blocks: gather the blocks of backbones in bf16, which is for computing under autocast. Shards, sums of gradients
            and everything else stay in float32, and so do blocks with batch norm, whose weights are of its statistics' type.

    Raises:
        ConfigError: ``bf16_blocks``, and no backbone has such blocks.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    halves = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    owners = repeated_blocks(module)
    own = list(_with_own_weights(owners, module))
    in_bf16 = {block for block in own if bf16_blocks and owners[block] is not None and not _has_batch_norm(block)}
    if bf16_blocks and not in_bf16:
        raise ConfigError(
            "precision=bf16-true with strategy=fsdp gathers the blocks of a network in bf16, and this network names none "
            "without batch norm (Backbone.blocks). Use precision=bf16, or strategy=ddp."
        )
    for block in own:
        before = _hooks(block)
        fully_shard(block, mesh=mesh["data_parallel"], mp_policy=halves if block in in_bf16 else MixedPrecisionPolicy())
        if block in in_bf16:
            _compute_norms_in_float32(block)
        block._sharding_hooks = frozenset(_hooks(block) - before)  # type: ignore[assignment]  # a plain attribute
    fully_shard(module, mesh=mesh["data_parallel"])
    return module


def _has_batch_norm(block: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in block.modules())


def _compute_norms_in_float32(block: nn.Module) -> None:
    """Let the norms of a block take their weights in float32, in place: a CPU has none of bf16 weights and float32 inputs."""
    for part in block.modules():
        if isinstance(part, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm):
            part.forward = partial(_with_float32_weights, part)  # type: ignore[method-assign]


def _with_float32_weights(module: nn.Module, *inputs: Any) -> Any:
    """The output of a module whose own weights are in float32 for the time of its forward pass."""
    own: dict[str, Any] = dict(module._parameters)
    try:
        module._parameters.update({name: weight.float() for name, weight in own.items() if weight is not None})
        return type(module).forward(module, *inputs)
    finally:
        module._parameters.update(own)


def shard_like(copy: nn.Module, network: nn.Module) -> None:
    """Shard the weights of a copy of a network, in place, as those of the network are; all devices call this together.

    Unlike the network, the copy does not gather its weights by itself: it computes inside of :func:`gathered` only.
    """
    from torch.distributed.tensor import distribute_tensor

    done: dict[Tensor, nn.Parameter] = {}  # a weight may have several places
    for part, original in zip(copy.modules(), network.modules(), strict=True):
        for name, own in list(part.named_parameters(recurse=False, remove_duplicate=False)):
            theirs: Any = original._parameters[name]
            if is_spread(theirs):
                if own not in done:
                    spread = distribute_tensor(own.detach(), theirs.device_mesh, theirs.placements)
                    done[own] = nn.Parameter(spread, requires_grad=own.requires_grad)
                part._parameters[name] = done[own]


def _with_own_weights(blocks: Iterable[nn.Module], root: nn.Module) -> Iterator[nn.Module]:
    """The blocks that have weights and share none with another module: FSDP could shard a shared weight in one place only."""
    uses = Counter(id(parameter) for part in root.modules() for parameter in part._parameters.values() if parameter is not None)
    for block in blocks:
        own = Counter(
            id(parameter) for part in block.modules() for parameter in part._parameters.values() if parameter is not None
        )
        if own and all(uses[weight] == count for weight, count in own.items()):
            yield block


def _hooks(module: nn.Module) -> set[int]:
    return {*module._forward_pre_hooks, *module._forward_hooks}


def _sharded_parts(root: nn.Module) -> list[FSDPModule]:
    """The blocks that were sharded separately, and the root."""
    fsdp = sys.modules["torch.distributed.fsdp"]
    return [part for part in root.modules() if isinstance(part, fsdp.FSDPModule)]


def is_sharded(module: nn.Module) -> bool:
    """Whether :func:`shard` was applied; steps ask, so it looks at no weight."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(module, fsdp.FSDPModule)


def _has_shards(module: nn.Module) -> bool:
    """Whether :func:`shard` or :func:`shard_like` was applied."""
    return is_sharded(module) or any(is_spread(weight) for weight in module.parameters())


def is_spread(tensor: Any) -> bool:
    """Whether a tensor is spread over devices."""
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(tensor, distributed.DTensor)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """While entered, every device has the whole weights; all devices must enter together.

    Then a single device can compute with parts of the module: blocks neither gather nor free their weights.
    """
    if not is_sharded(module):
        with _whole_weights(module):
            yield
        return
    parts = _sharded_parts(module)
    for part in parts:
        part.unshard()
    try:
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(_without_hooks(cast(nn.Module, part)))
            yield
    finally:
        for part in parts:
            part.reshard()


@contextmanager
def _whole_weights(copy: nn.Module) -> Iterator[None]:
    """Put whole weights in the places of sharded ones while entered."""
    weights = [
        (part, *named) for part in copy.modules() for named in part.named_parameters(recurse=False, remove_duplicate=False)
    ]
    spread = [(part, name, weight) for part, name, weight in weights if is_spread(weight)]
    try:
        for part, name, weight in spread:
            part._parameters[name] = nn.Parameter(whole(weight.detach()), requires_grad=weight.requires_grad)
        yield
    finally:
        for part, name, weight in spread:
            part._parameters[name] = weight


@contextmanager
def _without_hooks(block: nn.Module) -> Iterator[None]:
    """Run no hook of FSDP while entered."""
    own: frozenset[int] = getattr(block, "_sharding_hooks", frozenset())
    before, after = block._forward_pre_hooks, block._forward_hooks
    block._forward_pre_hooks = OrderedDict((key, hook) for key, hook in before.items() if key not in own)
    block._forward_hooks = OrderedDict((key, hook) for key, hook in after.items() if key not in own)
    try:
        yield
    finally:
        block._forward_pre_hooks, block._forward_hooks = before, after


def whole_state(module: nn.Module) -> dict[str, Any]:
    """The whole state of a module. If it is sharded, all devices call this together, and the first one gets the state."""
    if not _has_shards(module):
        return module.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def set_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Load a whole state into a module, each device its shard; all devices call this together."""
    if not _has_shards(module):
        module.load_state_dict(state)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(module, state, options=StateDictOptions(full_state_dict=True))


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
    for place, values in found.items():  # torch takes any shape, and fails at the next step
        if any(
            isinstance(value, Tensor) and value.ndim and value.shape != parameters[place].shape for value in values.values()
        ):
            raise ValueError(f"the optimizer's state of {names[id(parameters[place])]} has another shape than the weight")
    set_state(module, task)
    if is_sharded(module):
        found = {
            place: {key: _spread_like(parameters[place], value) for key, value in found[place].items()}
            for place in sorted(found)
        }
    optimizer.load_state_dict({"state": found, "param_groups": groups})
    for place, values in found.items():
        state = optimizer.state[parameters[place]]
        for key, value in values.items():  # torch converts a state to the type of its weight, which may be bf16
            if isinstance(value, Tensor) and isinstance(state[key], Tensor) and state[key].dtype != value.dtype:
                state[key] = value.to(parameters[place].device)


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
        root: the module that was given to :func:`shard` or :func:`shard_like`.
        build: makes a new module of the same kind.
    """
    if not _has_shards(root):
        return module
    prefix = next(name for name, part in root.named_modules() if part is module) + "."
    state = whole_state(root)
    part = build()
    if state:
        part.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    return part


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor of a sharded one; all devices call this together."""
    return cast(Any, tensor).full_tensor() if is_spread(tensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """This device's shard of a tensor, in the same memory; the whole tensor if it is not sharded."""
    return cast(Any, tensor).to_local() if is_spread(tensor) else tensor


def all_finite(module: nn.Module) -> bool:
    """Whether every weight is finite, with one device sync. If weights are sharded, all devices call this together."""
    norms = torch._foreach_norm([parameter.detach() for parameter in module.parameters()])
    return not norms or bool(torch.isfinite(torch.stack([whole(norm).float() for norm in norms])).all())
