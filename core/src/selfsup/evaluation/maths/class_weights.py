"""Weigh classes in training: equally, by inverse frequency, or as given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from selfsup.errors import ConfigError

ClassWeight = Literal["none", "balanced"] | dict[str, float]
"""``none``: all weights are 1. ``balanced``: N / (K N_c) for each of the N_c rows of a class, as scikit-learn's
``class_weight="balanced"``. Class names to weights: 1 for all other classes."""


def weight_table(option: ClassWeight, targets: Tensor, n_classes: int, names: Sequence[str], *, what: str) -> Tensor | None:
    """Weights by class, for :func:`row_weights`; None: all are 1.

    Args:
        option: as configured.
        targets: [N] long; [N, K] of 0 and 1; or [N] numbers.
        n_classes: K.
        names: of the classes.
        what: whose option it is, for messages.

    Returns:
        [K] where a row has one class; else [2, K], for rows without and with each class.

    Raises:
        ConfigError: labels are numbers, a class that is named is not there, or a weight is not above 0.
    """
    if option == "none":
        return None
    if targets.is_floating_point() and targets.dim() == 1:
        raise ConfigError(f"{what}.class_weight={option!r} is not allowed: the labels are numbers, which have no classes.")
    several = targets.dim() == 2
    sizes = targets.sum(dim=0).float() if several else torch.bincount(targets, minlength=n_classes).float()
    if isinstance(option, Mapping):
        given = torch.ones(n_classes)
        for name, weight in option.items():
            if name not in names:
                raise ConfigError(f"{what}.class_weight names {name!r}, which is no class. The classes are {', '.join(names)}.")
            if not weight > 0:
                raise ConfigError(f"{what}.class_weight gives {name!r} the weight {weight}; weights are above 0.")
            given[list(names).index(name)] = weight
        table = torch.stack([torch.ones(n_classes), given]) if several else given
    elif several:
        n = len(targets)
        table = torch.stack([n / (2 * (n - sizes)), n / (2 * sizes)])
        table = torch.where(table.isfinite().all(dim=0), table, 1.0)
    else:
        table = torch.where(sizes > 0, len(targets) / ((sizes > 0).sum() * sizes), 1.0)
    return table.to(targets.device)


def row_weights(table: Tensor, targets: Tensor) -> Tensor:
    """[N] weights of rows of one class, or [N, K] of rows of several, from :func:`weight_table`."""
    if table.dim() == 1:
        return table[targets]
    return torch.where(targets.bool(), table[1], table[0])
