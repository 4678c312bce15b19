"""Tools for backbones of rows with several parts: one embedding per part, and parts that stay frozen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from selfsup.backbones.base import FIXED, FROZEN, Backbone, Encoded
from selfsup.batch_parts import only_part
from selfsup.errors import ConfigError
from selfsup.types import Batch


def pooled_over_parts(parts: Mapping[str, Encoded], *, shares_space: bool) -> Tensor:
    """One embedding a row of those of its parts.

    Args:
        parts: by name, ``pooled`` [B, D] with ``valid`` ([B] bool or None, True where a row has the part); what stands in rows
            that lack it makes no difference. At least one.
        shares_space: whether all lie in one space (:attr:`Backbone.shares_space`).

    Returns:
        Of one part its own, as it is. Of several in one space, [B, D]: the mean of those that the row has, zeros where it has
        none. Of several with spaces of their own, [B, D1 + D2 + ...]: one beside the other, zeros for those that it lacks.
    """
    if len(parts) == 1:
        return next(iter(parts.values())).pooled
    there = [
        own.pooled if own.valid is None else torch.where(own.valid.unsqueeze(1), own.pooled, torch.zeros_like(own.pooled))
        for own in parts.values()
    ]
    if not shares_space:
        return torch.cat(there, dim=1)
    first = there[0]
    ones = torch.ones(first.shape[0], dtype=first.dtype, device=first.device)
    counts = torch.stack([ones if own.valid is None else own.valid.to(first.dtype) for own in parts.values()]).sum(dim=0)
    return torch.stack(there).sum(dim=0) / counts.clamp_min(1).unsqueeze(1)


def embed_part(backbone: Backbone, batch: Batch, part: str) -> Tensor:
    """The embedding of one part of each row, without a look at the others.

    Args:
        backbone: of rows that join several parts.
        batch: holds the part.
        part: its name.

    Returns:
        [B, part_dims[part]] float32, NaN in rows that lack the part.
    """
    encoded = backbone(only_part(batch, part))
    own = encoded.parts[part]
    pooled: Tensor = own.pooled.float()
    return pooled if own.valid is None else torch.where(own.valid.unsqueeze(1), pooled, torch.full_like(pooled, torch.nan))


def part_networks(backbone: Backbone) -> list[Backbone]:
    """The networks of the parts of a row, where each part has one of its own; else none."""
    try:
        return [backbone.part(name) for name in backbone.part_dims]
    except ConfigError:
        return []


def freeze(module: nn.Module) -> None:
    """Train no weight of a part of a backbone: no gradient, and evaluation mode whatever mode the backbone is in.

    So statistics of batch norm stay as they are, and there is no dropout. Copies (of a moving average) are frozen as well.
    """
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    setattr(module, FROZEN, True)
    module.eval()


def hold_fixed(module: nn.Module, *names: str) -> None:
    """Train some weights of a module never: not in pretraining, and not in fine-tuning (:func:`unfreeze` passes them over).

    For weights that are constants (positions of sines) and for those that nothing uses, which would stop DDP. Copies of the
    module hold them fixed as well; a saved encoder does so by building its network anew.

    Args:
        module: has the weights.
        names: of parameters of it, as ``named_parameters`` has them.
    """
    for name in names:
        place, _, own = name.rpartition(".")
        owner = module.get_submodule(place)
        owner.get_parameter(own).requires_grad_(False)
        setattr(owner, FIXED, (*getattr(owner, FIXED, ()), own))


def unfreeze(module: nn.Module) -> None:
    """Train all weights of a module again, those of frozen parts of it too; the mode is left to the next ``train()``.

    What :func:`hold_fixed` was told of stays untrained.
    """
    fixed = {id(member.get_parameter(name)) for member in module.modules() for name in getattr(member, FIXED, ())}
    for member in module.modules():
        if getattr(member, FROZEN, False):
            delattr(member, FROZEN)
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) not in fixed)
