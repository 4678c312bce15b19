"""From an optimization config to an optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from selfsup.errors import ConfigError
from selfsup.training.config import OptimizationConfig
from selfsup.training.lars import LARS

_FUSED_DEVICES = ("cpu", "cuda")


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: those with weight decay, and those without (biases, norms, all of one dimension).

    A group that would be empty is left out. ``decays`` says which of the two it is.
    """
    decay: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (rest if parameter.ndim <= 1 or name.endswith("bias") else decay).append(parameter)
    groups: list[dict[str, Any]] = []
    if decay:
        groups.append({"params": decay, "weight_decay": weight_decay, "decays": True})
    if rest:
        groups.append({"params": rest, "weight_decay": 0.0, "decays": False})
    return groups


def build_optimizer(module: nn.Module, config: OptimizationConfig, *, allow_fused: bool = True) -> Optimizer:
    """The optimizer of a config over a module's trainable parameters.

    Args:
        module: a pretext task.
        config: says which optimizer.
        allow_fused: False where gradients must be unscaled from outside first (fp16 with a loss scale).

    Raises:
        ConfigError: the module has nothing to train.
    """
    groups = parameter_groups(module, config.weight_decay)
    if not groups:
        raise ConfigError("this task has no trainable parameter, so it cannot be trained: use 0 steps (--steps 0).")
    lr = config.peak_lr()
    device = groups[0]["params"][0].device.type
    kernels: dict[str, Any] = {"fused": True} if allow_fused and device in _FUSED_DEVICES else {"foreach": True}
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=config.betas, eps=config.eps, **kernels)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=config.betas, eps=config.eps, **kernels)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, **kernels)
        case "lars":
            for group in groups:
                group["adapt"] = group["decays"]
            return LARS(groups, lr=lr, momentum=config.momentum, trust_coefficient=config.trust_coefficient)


def set_hyperparameters(optimizer: Optimizer, *, lr: float, weight_decay: float) -> None:
    """Set what schedules move. Groups without decay keep none."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if group["decays"]:
            group["weight_decay"] = weight_decay
