"""The weights of vision transformers of transformers (ViT, DeiT, VideoMAE) under the names of another library."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_LAYERS = {
    "attention.output.dense": "projection",
    "attention.o_proj": "projection",
    "intermediate.dense": "mlp_in",
    "mlp.fc1": "mlp_in",
    "output.dense": "mlp_out",
    "mlp.fc2": "mlp_out",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
"""What transformers 4 and 5 call a layer of a block, and its role."""
PATCHES = "embeddings.patch_embeddings.projection"
"""The projection of the patches in transformers."""


def plain_names(state: Mapping[str, Tensor], *models: str) -> dict[str, Tensor]:
    """The state without the prefix of the model (``vit.``), blocks as ``layers.N`` as in version 5."""
    prefixes = [f"{model}." for model in models]
    found = {}
    for name, value in state.items():
        for prefix in prefixes:
            name = name.removeprefix(prefix)
        found[name.replace("encoder.layer.", "layers.")] = value
    return found


def renamed_blocks(state: Mapping[str, Tensor], ours: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights of all blocks (``N.norm1.weight``), query, key and value joined to ``N.<qkv>``.

    A query or value that has a bias of its own where keys have none (VideoMAE) gets zeros for the bias of the keys.

    Args:
        state: from :func:`plain_names`.
        ours: from the roles ``projection``, ``mlp_in``, ``mlp_out``, ``norm1``, ``norm2``, ``qkv`` to names.
    """
    found: dict[str, Tensor] = {}
    for block in sorted({name.split(".")[1] for name in state if name.startswith("layers.")}, key=int):
        prefix = f"layers.{block}."
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for name, role in _LAYERS.items():
            for kind in ("weight", "bias"):
                if f"{name}.{kind}" in own:
                    found[f"{block}.{ours[role]}.{kind}"] = own[f"{name}.{kind}"]
        weights, biases = ([_first(own, part, kind) for part in ("query", "key", "value")] for kind in ("weight", "bias"))
        joined = [weight for weight in weights if weight is not None]
        if len(joined) == 3:
            found[f"{block}.{ours['qkv']}.weight"] = torch.cat(joined)
            if any(bias is not None for bias in biases):
                none = torch.zeros(len(joined[0]))
                found[f"{block}.{ours['qkv']}.bias"] = torch.cat([none if bias is None else bias for bias in biases])
    return found


def _first(own: Mapping[str, Tensor], part: str, kind: str) -> Tensor | None:
    """The query, key or value of a block under any of the library's names."""
    names = (f"attention.attention.{part}.{kind}", f"attention.{part[0]}_proj.{kind}", f"attention.attention.{part[0]}_{kind}")
    return next((own[name] for name in names if name in own), None)
