"""Build the optimizer from its config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from selfsup.backbones import Backbone, part_networks
from selfsup.errors import ConfigError
from selfsup.training.loop.lars import LARS
from selfsup.training.run.config import OptimizationConfig

_FUSED_DEVICES = ("cpu", "cuda")


def parameter_groups(
    module: nn.Module, weight_decay: float, *, bias_scale: float = 1.0, scale_of: Callable[[str], float] | None = None
) -> list[dict[str, Any]]:
    """Group trainable parameters by weight decay and learning rate.

    Biases, norms and other parameters of one dimension have no weight decay (``decays`` is False). ``scale`` is a group's
    learning rate as a fraction of the optimizer's; :func:`set_hyperparameters` applies it, and checkpoints keep it.

    Args:
        module: has the parameters.
        weight_decay: of the groups with weight decay.
        bias_scale: fraction for parameters without weight decay.
        scale_of: parameter name to a further factor (layer-wise rates); None: 1.

    Returns:
        One group for each pair of ``decays`` and ``scale`` that occurs, those with weight decay first.
    """
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith("bias")
            scale = (1.0 if decays else bias_scale) * (1.0 if scale_of is None else scale_of(name))
            members.setdefault((decays, scale), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "decays": decays, "scale": scale}
        for (decays, scale), parameters in sorted(members.items(), key=lambda item: not item[0][0])
    ]


def layer_scales(module: nn.Module, blocks: Sequence[nn.Module], decay: float, *, head: nn.Module) -> dict[str, float]:
    """Layer-wise learning rates: parameter name to its fraction of the optimizer's rate.

    With L blocks, block i (from 0) has ``decay ** (L - i)``, the head 1, and the input layers ``decay ** (L + 1)`` (Bao et al.
    2021, BEiT, arXiv 2106.08254, as in the authors' code). Without blocks all have 1.

    Args:
        module: holds the blocks and the head.
        blocks: from the input to the output.
        decay: factor from each block to the one before it.
        head: the new head.
    """
    if not blocks:
        return {name: 1.0 for name, _ in module.named_parameters()}
    scale = {id(parameter): decay ** (len(blocks) - i) for i, block in enumerate(blocks) for parameter in block.parameters()}
    scale |= {id(parameter): 1.0 for parameter in head.parameters()}
    return {name: scale.get(id(parameter), decay ** (len(blocks) + 1)) for name, parameter in module.named_parameters()}


def module_scales(module: nn.Module, scales: Iterable[tuple[nn.Module, float]]) -> dict[str, float]:
    """Learning rates of submodules: parameter name to its fraction of the optimizer's rate.

    Args:
        module: has the submodules.
        scales: submodules and their fractions (:meth:`selfsup.backbones.Backbone.lr_scales`); for a parameter in several
            submodules the last one decides. All others have 1.
    """
    scale = {id(parameter): share for member, share in scales for parameter in member.parameters()}
    return {name: scale.get(id(parameter), 1.0) for name, parameter in module.named_parameters()}


def finetuning_scales(module: nn.Module, backbone: Backbone, decay: float, *, head: nn.Module) -> dict[str, float]:
    """The rates of fine-tuning: layer-wise ones (:func:`layer_scales`) times the backbone's own (:func:`module_scales`).

    If each part of a row has its own network, each network has its own layer-wise rates, and the layers after them
    (projections into a joint space) have the head's rate.

    Args:
        module: holds the backbone and the head.
        backbone: the network.
        decay: factor from each block to the one before it.
        head: the new head.
    """
    networks = part_networks(backbone)
    if not networks:
        layers = layer_scales(module, backbone.blocks(), decay, head=head)
    else:
        by_id: dict[int, float] = {}
        for network in networks:
            own = layer_scales(network, network.blocks(), decay, head=nn.Identity())
            by_id |= {id(parameter): own[name] for name, parameter in network.named_parameters()}
        layers = {name: by_id.get(id(parameter), 1.0) for name, parameter in module.named_parameters()}
    rates = module_scales(module, backbone.lr_scales())
    return {name: scale * rates[name] for name, scale in layers.items()}


def build_optimizer(
    module: nn.Module,
    config: OptimizationConfig,
    *,
    allow_fused: bool = True,
    scale_of: Callable[[str], float] | None = None,
) -> Optimizer:
    """The optimizer of a config over a module's trainable parameters.

    Args:
        module: a pretext task.
        config: names the optimizer.
        scale_of: see :func:`parameter_groups`.
        allow_fused: False if gradients must be unscaled first (fp16 with a loss scale).

    Raises:
        ConfigError: the module has no trainable parameter.
    """
    groups = parameter_groups(module, config.weight_decay, bias_scale=config.bias_lr_scale, scale_of=scale_of)
    if not groups:
        raise ConfigError("this task has no trainable parameter, so it cannot be trained: use 0 steps (--steps 0).")
    lr = config.peak_lr()
    for group in groups:
        group["lr"] = lr * group["scale"]
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
                group["adapt"] = group["decays"] or config.adapt_biases
            return LARS(groups, lr=lr, momentum=config.momentum, trust_coefficient=config.trust_coefficient)


def set_hyperparameters(optimizer: Optimizer, *, lr: float, weight_decay: float) -> None:
    """Set the learning rate, times each group's ``scale``, and the weight decay of groups that have one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
        if group["decays"]:
            group["weight_decay"] = weight_decay
