"""Weights in bf16: half the memory of the weights and their gradients, with optimizer steps in float32.

A bf16 number has 8 significant bits, so an update of less than 1/512 of a weight would be lost if results were rounded to the
nearest number. Steps are computed in float32, with the optimizer's state in float32, and rounded at random, up or down with
probabilities that make the mean exact (Gupta et al. 2015, arXiv:1502.02551, section 3; for bf16 Zamirai et al. 2020,
arXiv:2010.06192).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup.backbones import Backbone

CHUNK = 2**24
"""Weights that are in float32 at the same time during a step (64 MiB, and as much for their gradients)."""
_IN_FLOAT32 = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_SEED = 0xB16


def store_in_bf16(task: nn.Module) -> int:
    """Convert the trained matrices of a task's backbones to bf16, in place; returns how many weights these are.

    These are the weights of linear layers and convolutions. Everything else stays in float32, since that costs little: biases,
    norms, embeddings of words and positions (their gradients are sums over many tokens), buffers, heads, the objective, and
    whatever is not trained (moving averages, teachers).
    """
    kept = {
        id(parameter)
        for part in task.modules()
        if isinstance(part, _IN_FLOAT32)
        for parameter in part.parameters(recurse=False)
    }
    count = 0
    for backbone in task.modules():
        for part in backbone.modules() if isinstance(backbone, Backbone) else ():
            weight = part._parameters.get("weight")
            if weight is None or weight.ndim < 2 or weight.dtype != torch.float32 or id(weight) in kept:
                continue
            if weight.requires_grad:
                weight.data = weight.data.bfloat16()
                count += weight.numel()
    return count


def store_in_float32(module: nn.Module) -> None:
    """Convert the bf16 weights of a module to float32, in place."""
    for parameter in _halves(module.parameters()):
        parameter.data = parameter.data.float()


class Float32Steps:
    """Takes the steps of an optimizer in float32, and rounds the new bf16 weights at random.

    A number of weights at a time is in float32 (:data:`CHUNK`), with its gradients. The draws follow from the number of the
    step: all devices round alike, and so does a run that goes on.

    Args:
        optimizer: over weights in bf16 and float32.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Take step ``number``, from 0."""
        groups, state = self._optimizer.param_groups, self._optimizer.state
        whole = [list(group["params"]) for group in groups]
        generators: dict[torch.device, torch.Generator] = {}
        for group in groups:
            group["params"] = []
        try:
            for group, parameters in zip(groups, whole, strict=True):
                for members in _chunks(parameters):
                    stands_in = {parameter: _wide(parameter) for parameter in members}
                    for parameter, wide in stands_in.items():
                        _move(state, parameter, wide)
                    group["params"] = list(stands_in.values())
                    try:
                        self._optimizer.step()
                    finally:
                        for parameter, wide in stands_in.items():
                            _move(state, wide, parameter)
                    for parameter, wide in stands_in.items():
                        if parameter is not wide:
                            if parameter.device not in generators:
                                generators[parameter.device] = torch.Generator(parameter.device).manual_seed(_SEED + number)
                            parameter.copy_(rounded_at_random(wide, generators[parameter.device]))
                group["params"] = []
        finally:
            for group, parameters in zip(groups, whole, strict=True):
                group["params"] = parameters


def has_bf16(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether any weight is in bf16."""
    return bool(_halves(parameters))


@torch.no_grad()
def rounded_at_random(x: Tensor, generator: torch.Generator) -> Tensor:
    """A float32 tensor in bf16, each number rounded to one of its two neighbours so that the expectation is the number.

    The lower 16 bits are what bf16 cuts off: adding a random number of 16 bits carries into the upper ones with a probability
    in proportion to them. Infinite numbers and NaN stay.
    """
    noise = torch.randint(1 << 16, x.shape, dtype=torch.int32, device=x.device, generator=generator)
    up = (x.contiguous().view(torch.int32) + noise.view_as(x)).bitwise_and_(-(1 << 16)).view(torch.float32)
    return torch.where(torch.isfinite(x), up, x).bfloat16()


def _halves(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.dtype == torch.bfloat16]


def _chunks(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """First the float32 weights all together, then the bf16 ones, each time as many as :data:`CHUNK` allows."""
    if wide := [parameter for parameter in parameters if parameter.dtype != torch.bfloat16]:
        yield wide
    members: list[nn.Parameter] = []
    for parameter in _halves(parameters):
        if members and sum(member.numel() for member in members) + parameter.numel() > CHUNK:
            yield members
            members = []
        members.append(parameter)
    if members:
        yield members


def _wide(parameter: nn.Parameter) -> nn.Parameter:
    """A float32 parameter with the values and the gradient of a bf16 one; a float32 one itself.

    The dtype of a parameter cannot be changed for a moment: DDP would lose its gradient.
    """
    if parameter.dtype != torch.bfloat16:
        return parameter
    wide = nn.Parameter(parameter.detach().float())
    wide.grad = None if parameter.grad is None else parameter.grad.float()
    return wide


def _move(state: dict[Any, Any], before: nn.Parameter, after: nn.Parameter) -> None:
    """Give an optimizer's state of one parameter to another one."""
    if before is not after and before in state:
        state[after] = state.pop(before)
