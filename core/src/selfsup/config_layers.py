"""Merge layers of options: the paper's settings, then the recipe's, the file's and the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXCLUSIVE = (("lr", "base_lr"), ("epochs", "steps"), ("warmup_epochs", "warmup_fraction"))
"""Pairs of fields that set the same thing: a layer that sets one removes the other from the layers before."""

REPLACES: Mapping[str, tuple[str, ...]] = {
    "weight_decay": ("weight_decay_end",),
    "schedule": ("warmup_epochs", "warmup_fraction", "final_lr_fraction"),
    "final_lr_fraction": ("schedule",),
    "start": ("initial_share",),
    "end": ("initial_share",),
    "ramp": ("initial_share",),
}
"""Field to further fields of the same schedule: a layer that sets it removes those of the layers before.

A constant weight decay does not have the end value of a paper's schedule, another learning-rate schedule does not have the
paper's warm-up, and given momenta (``start``, ``end``, ``ramp``) are not fitted to the length of the run. The peak (``lr``,
``base_lr``) and the length of the warm-up are independent.
"""

OPTIMIZER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {},
    "adam": {"weight_decay": 0.0},
    "sgd": {"base_lr": 0.05, "weight_decay": 1e-4},
    "lars": {"base_lr": 0.3, "weight_decay": 1e-6},
}
"""Optimizer to its differences from the defaults of ``OptimizationConfig``, for replacing another optimizer.

SGD's are SimSiam's (Chen and He 2020, arXiv:2011.10566), LARS's are SimCLR's (Chen et al. 2020, arXiv:2002.05709).
"""

_OF_OPTIMIZER = (
    "lr", "base_lr", "weight_decay", "weight_decay_end", "betas", "eps", "momentum", "trust_coefficient", "bias_lr_scale",
    "adapt_biases",
)  # fmt: skip
"""Fields whose values only apply to one optimizer."""


def merge_layers(*layers: Mapping[str, Any], replace: bool = True) -> dict[str, Any]:
    """Join layers of nested options; later ones win, section by section.

    A layer also removes fields of the layers before: see :data:`EXCLUSIVE` and :data:`REPLACES`. Another ``optimizer`` removes
    the settings of the former one, and adds :data:`OPTIMIZER_DEFAULTS`. Without ``replace``, as for repeated options, only
    exclusive fields are removed.
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
