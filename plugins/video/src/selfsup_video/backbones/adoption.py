"""Start video backbones from VideoMAE models of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from selfsup.artifacts import image_scaling, read_model
from selfsup.backbones import Adopted, Scaling, rescaled_input
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD
from selfsup_images.vit_weights import PATCHES, plain_names, renamed_blocks

_IMAGENET = IMAGENET_MEAN, IMAGENET_STD
_BLOCK = {
    "projection": "projection", "mlp_in": "mlp.0", "mlp_out": "mlp.2", "norm1": "norm1", "norm2": "norm2", "qkv": "qkv",
}  # fmt: skip
"""What our transformer calls a layer of a block, by its role."""


def adopt(source: str, described: Mapping[str, Any]) -> Adopted | None:
    """``video-vit-small`` in the size of a VideoMAE of transformers; None for other models.

    Args:
        source: its folder, or ``hf://owner/name``.
        described: its ``config.json``.

    Raises:
        ArtifactError: its files cannot be read.
    """
    if described.get("model_type") != "videomae":
        return None

    def size(name: str, usual: int) -> int:
        return int(described.get(name, usual))

    options: dict[str, Any] = {
        "tubelet": size("tubelet_size", 2),
        "patch_size": size("patch_size", 16),
        "embed_dim": size("hidden_size", 768),
        "depth": size("num_hidden_layers", 12),
        "heads": size("num_attention_heads", 12),
        "positions": "sequence",
    }
    processor = {"image_size": size("image_size", 224), "frames": size("num_frames", 16)}
    return Adopted("video-vit-small", options, processor, lambda: renamed(read_model(source), image_scaling(source, _IMAGENET)))


def renamed(state: Mapping[str, Tensor], scaling: Scaling) -> dict[str, Tensor]:
    """The weights of a VideoMAE under our names, for frames in our scaling."""
    state = plain_names(state, "videomae")
    found = {f"transformer.blocks.{name}": value for name, value in renamed_blocks(state, _BLOCK).items()}
    for name in [name for name in found if name.endswith("qkv.weight")]:  # trained with qkv_bias=False
        found.setdefault(name.replace("weight", "bias"), torch.zeros(len(found[name])))
    for kind in ("weight", "bias"):
        # With mean pooling the last norm follows it, and belongs to the classifier.
        last = state.get(f"layernorm.{kind}", state.get(f"fc_norm.{kind}"))
        if last is not None:
            found[f"transformer.norm.{kind}"] = last
    if f"{PATCHES}.weight" in state:
        weight, bias = rescaled_input(state[f"{PATCHES}.weight"], state[f"{PATCHES}.bias"], scaling, _IMAGENET)
        # [D, channel, frame, row, column] to our order of a tubelet's pixels.
        found["embedding.weight"] = weight.permute(0, 2, 3, 4, 1).flatten(1)
        found["embedding.bias"] = bias
    return found
