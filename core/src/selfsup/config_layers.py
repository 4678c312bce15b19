"""Merge layers of options: the paper's settings, then the recipe's, the file's and the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXCLUSIVE = (("lr", "base_lr"), ("epochs", "steps"), ("warmup_epochs", "warmup_fraction"))
"""Pairs of fields that say the same in two ways: a layer that sets one takes the other of the layers before away."""

REPLACES: Mapping[str, tuple[str, ...]] = {
    "weight_decay": ("weight_decay_end",),
    "schedule": ("warmup_epochs", "warmup_fraction", "final_lr_fraction"),
    "final_lr_fraction": ("schedule",),
    "start": ("initial_share",),
    "end": ("initial_share",),
    "ramp": ("initial_share",),
}
"""Field to further fields of the same schedule: a layer that sets it takes those of the layers before away.

A constant weight decay does not end where a paper's rising one does, another course of the learning rate has no paper's
warm-up, and momenta of one's own (``start``, ``end``, ``ramp``) are not fitted to the length of the run as a paper's are. The
peak (``lr``, ``base_lr``) and the length of the warm-up are no part of each other: each can be changed alone.
"""

OPTIMIZER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {},
    "adam": {"weight_decay": 0.0},
    "sgd": {"base_lr": 0.05, "weight_decay": 1e-4},
    "lars": {"base_lr": 0.3, "weight_decay": 1e-6},
}
"""Optimizer to what differs from the defaults of ``OptimizationConfig`` where it takes another one's place.

SGD's are SimSiam's (Chen and He 2020, arXiv:2011.10566), LARS's are SimCLR's (Chen et al. 2020, arXiv:2002.05709).
"""

_OF_OPTIMIZER = (
    "lr", "base_lr", "weight_decay", "weight_decay_end", "betas", "eps", "momentum", "trust_coefficient", "bias_lr_scale",
    "adapt_biases",
)  # fmt: skip
"""Fields whose values are made for one optimizer and say nothing of another."""


def merge_layers(*layers: Mapping[str, Any], replace: bool = True) -> dict[str, Any]:
    """Join layers of options; later ones win, section by section.

    What a layer sets also takes away what it stands for in the layers before: see :data:`EXCLUSIVE` and :data:`REPLACES`.
    Another ``optimizer`` takes away the settings that were made for the former one, and brings :data:`OPTIMIZER_DEFAULTS`.

    Args:
        layers: nested options.
        replace: False: take away exclusive fields only, for options that are said again.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for first, second in EXCLUSIVE:
            if layer.get(first) is not None:
                merged.pop(second, None)
            if layer.get(second) is not None:
                merged.pop(first, None)
        for name, others in REPLACES.items():
            if replace and name in layer:
                for other in others:
                    merged.pop(other, None)
        former = merged.get("optimizer", "adamw")
        if replace and merged and layer.get("optimizer", former) != former:
            kept = {key: value for key, value in merged.items() if key not in _OF_OPTIMIZER}
            merged = {**kept, **OPTIMIZER_DEFAULTS.get(str(layer["optimizer"]), {})}
        for key, value in layer.items():
            old = merged.get(key)
            if isinstance(old, Mapping) and isinstance(value, Mapping):
                value = merge_layers(old, value, replace=replace)
            merged[key] = value
    return merged
