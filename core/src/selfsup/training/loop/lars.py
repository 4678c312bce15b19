"""LARS: scale each layer's step by the norm of its weights (You, Gitman and Ginsburg 2017, arXiv:1708.03888)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class LARS(Optimizer):
    """SGD with momentum whose rate is scaled, layer by layer, by the local rate of the paper's algorithm 1.

    With weight w, gradient g, weight decay b, rate lr, momentum m and trust coefficient eta::

        local = eta * |w| / (|g| + b * |w|)         (1 where |w| or |g| is 0)
        v     = m * v + lr * local * (g + b * w)
        w     = w - v

    Groups with ``adapt=False`` (biases and norms) use ``local = 1``, as large-batch self-supervised papers do since SimCLR; the
    paper itself scales every layer. Their step is the raw gradient at their group's rate, so short runs need a smaller rate for
    them. As in the paper, the rate is part of the velocity, unlike in ``torch.optim.SGD``. Nothing here waits for the device.

    Args:
        params: parameters or groups of them.
        lr: global learning rate.
        momentum: m.
        weight_decay: b.
        trust_coefficient: eta (paper: 0.001).
        adapt: default of the groups' ``adapt``.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        adapt: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "adapt": adapt,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure`` re-evaluates the loss and is called first where given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._step_group(group, parameters)
        return loss

    def _step_group(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = [cast(Tensor, parameter.grad) for parameter in parameters]
        decay = group["weight_decay"]
        updates = list(torch._foreach_add(gradients, parameters, alpha=decay)) if decay else [g.clone() for g in gradients]
        if group["adapt"]:
            scales = _local_rates(parameters, gradients, decay, group["trust_coefficient"])
            torch._foreach_mul_(updates, scales)
        torch._foreach_mul_(updates, group["lr"])
        velocities = []
        for parameter in parameters:
            state = self.state[parameter]
            if "velocity" not in state:
                state["velocity"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            velocities.append(state["velocity"])
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, updates)
        torch._foreach_sub_(parameters, velocities)


def _local_rates(parameters: list[Tensor], gradients: list[Tensor], decay: float, trust: float) -> list[Tensor]:
    """The local rate of each layer, a list of scalars on the device."""
    weights = torch.stack(list(torch._foreach_norm(parameters)))
    slopes = torch.stack(list(torch._foreach_norm(gradients)))
    rates = trust * weights / (slopes + decay * weights)
    return list(torch.where((weights > 0) & (slopes > 0), rates, torch.ones_like(rates)).unbind())
