"""Models of transformers that video backbones start from: VideoMAE's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfsup.artifacts import image_scaling, read_model
from selfsup.backbones import Adopted, Scaling, rescaled_input
from selfsup_video.backbones.base import IMAGENET_MEAN, IMAGENET_STD

_IMAGENET = IMAGENET_MEAN, IMAGENET_STD
_OF_BLOCKS = {
    "attention.output.dense": "projection",
    "attention.o_proj": "projection",
    "intermediate.dense": "mlp.0",
    "mlp.fc1": "mlp.0",
    "output.dense": "mlp.2",
    "mlp.fc2": "mlp.2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
"""What transformers calls a layer of a block, and our transformer."""
_QUERY, _KEY, _VALUE = (
    (f"attention.attention.{name}", f"attention.{short}_proj") for name, short in (("query", "q"), ("key", "k"), ("value", "v"))
)


def adopt(source: str, described: Mapping[str, Any]) -> Adopted | None:
    """``video-vit-small`` in the size of a VideoMAE of transformers; None where it is none.

    Args:
        source: its folder, or ``hf://owner/name``.
        described: its ``config.json``.

    Raises:
        ArtifactError: its files cannot be read.
    """
    if described.get("model_type") != "videomae":
        return None

    def told(name: str, usual: int) -> int:
        return int(described.get(name, usual))

    options: dict[str, Any] = {
        "tubelet": told("tubelet_size", 2),
        "patch_size": told("patch_size", 16),
        "embed_dim": told("hidden_size", 768),
        "depth": told("num_hidden_layers", 12),
        "heads": told("num_attention_heads", 12),
        "positions": "sequence",
    }
    processor = {"image_size": told("image_size", 224), "frames": told("num_frames", 16)}
    return Adopted("video-vit-small", options, processor, lambda: renamed(read_model(source), image_scaling(source, _IMAGENET)))


def renamed(state: Mapping[str, Tensor], scaling: Scaling) -> dict[str, Tensor]:
    """The weights of a VideoMAE under our names, for frames that are scaled as ours are."""
    state = {name.removeprefix("videomae.").replace("encoder.layer.", "layers."): value for name, value in state.items()}
    found: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        # With mean pooling the last norm stands behind it, and belongs to the classifier.
        last = state.get(f"layernorm.{kind}", state.get(f"fc_norm.{kind}"))
        if last is not None:
            found[f"transformer.norm.{kind}"] = last
    for block in sorted({name.split(".")[1] for name in state if name.startswith("layers.")}, key=int):
        prefix = f"layers.{block}."
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for theirs, ours in _OF_BLOCKS.items():
            for kind in ("weight", "bias"):
                if f"{theirs}.{kind}" in own:
                    found[f"transformer.blocks.{block}.{ours}.{kind}"] = own[f"{theirs}.{kind}"]
        query, key, value = (_first(own, [f"{name}.weight" for name in names]) for names in (_QUERY, _KEY, _VALUE))
        if query is None or key is None or value is None:
            continue
        found[f"transformer.blocks.{block}.qkv.weight"] = torch.cat([query, key, value])
        biases = [
            _first(own, [f"attention.attention.{short}_bias", *(f"{name}.bias" for name in names)])
            for short, names in (("q", _QUERY), ("k", _KEY), ("v", _VALUE))
        ]
        none = torch.zeros(len(query))  # keys have no bias
        found[f"transformer.blocks.{block}.qkv.bias"] = torch.cat([none if bias is None else bias for bias in biases])
    projection = "embeddings.patch_embeddings.projection"
    if f"{projection}.weight" in state:
        weight, bias = rescaled_input(state[f"{projection}.weight"], state[f"{projection}.bias"], scaling, _IMAGENET)
        # [D, channel, frame, row, column] to our order of a tubelet's pixels.
        found["embedding.weight"] = weight.permute(0, 2, 3, 4, 1).flatten(1)
        found["embedding.bias"] = bias
    return found


def _first(state: Mapping[str, Tensor], names: list[str]) -> Tensor | None:
    return next((state[name] for name in names if name in state), None)
