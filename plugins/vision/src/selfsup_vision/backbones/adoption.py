"""Start image backbones from folders of timm (as on the hub) and from ViTs of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor

from selfsup.artifacts import image_scaling, read_model
from selfsup.backbones import Adopted, Scaling, rescaled_input
from selfsup_images.backbones import IMAGENET_MEAN, IMAGENET_STD
from selfsup_images.vit_weights import PATCHES, plain_names, renamed_blocks

_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""The scaling of ViTs whose folder does not state it."""
_SIZES = {(192, 12, 3): "tiny", (384, 12, 6): "small", (768, 12, 12): "base", (1024, 24, 16): "large"}
"""Width, depth and heads of the ViTs that timm has names for."""
_BLOCK = {
    "projection": "attn.proj", "mlp_in": "mlp.fc1", "mlp_out": "mlp.fc2", "norm1": "norm1", "norm2": "norm2", "qkv": "attn.qkv",
}  # fmt: skip
"""What timm calls a layer of a block, by its role."""
_OUTSIDE = {
    "embeddings.cls_token": "cls_token", "embeddings.position_embeddings": "pos_embed",
    "layernorm.weight": "norm.weight", "layernorm.bias": "norm.bias",
}  # fmt: skip
"""What transformers calls a weight outside of the blocks, and timm."""


def adopt(source: str, described: Mapping[str, Any]) -> Adopted | None:
    """The backbone that starts from a folder of timm, or from a ViT of transformers; None for other models.

    Args:
        source: the folder, or ``hf://owner/name``.
        described: its ``config.json``.

    Raises:
        ArtifactError: its files cannot be read.
    """
    architecture = described.get("architecture")
    if isinstance(architecture, str) and timm.is_model(architecture):
        return _of_timm(source, architecture, described)
    return _of_transformers(source, described) if described.get("model_type") in ("vit", "deit", "vit_mae") else None


def _of_timm(source: str, architecture: str, described: Mapping[str, Any]) -> Adopted:
    """A model as timm pushes it to the hub."""
    known = {**described, **described.get("pretrained_cfg", {})}
    tagged = f"{architecture}.{known['tag']}" if known.get("tag") else architecture
    name = tagged if timm.get_pretrained_cfg(tagged, allow_unregistered=False) is not None else architecture
    classifier = known.get("classifier") or "head"
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)

    def weights() -> dict[str, Tensor]:
        state = read_model(source)
        return {f"model.{key}": value for key, value in state.items() if not any(key.startswith(f"{head}.") for head in heads)}

    processor: dict[str, Any] = {}
    if known.get("input_size"):
        processor["image_size"] = int(known["input_size"][-1])
    if known.get("crop_pct"):
        processor["margin"] = round(min(max(1 / float(known["crop_pct"]), 1.0), 4.0), 4)
    return Adopted(f"timm/{name}", processor=processor, weights=weights)


def _of_transformers(source: str, described: Mapping[str, Any]) -> Adopted:
    """A plain ViT. The scaling of its channels is folded into the projection of the patches."""
    width, depth, heads = (
        int(described.get(key, usual))
        for key, usual in (("hidden_size", 768), ("num_hidden_layers", 12), ("num_attention_heads", 12))
    )
    patch, size = int(described.get("patch_size", 16)), int(described.get("image_size", 224))
    id, ours = "vit-tiny", (IMAGENET_MEAN, IMAGENET_STD)
    options = {"patch_size": patch, "embed_dim": width, "depth": depth, "heads": heads}
    if (named := _SIZES.get((width, depth, heads))) is not None:
        name = f"vit_{named}_patch16_224"
        known: Any = timm.get_pretrained_cfg(name)
        id, options, ours = f"timm/{name}", {"patch_size": patch}, (tuple(known.mean), tuple(known.std))
    return Adopted(id, options, {"image_size": size}, lambda: _renamed(read_model(source), image_scaling(source, _HALF), ours))


def _renamed(state: Mapping[str, Tensor], theirs: Scaling, ours: Scaling) -> dict[str, Tensor]:
    """The weights of a ViT of transformers under the names of timm, for images in our scaling."""
    state = plain_names(state, "vit", "deit")
    found = {f"blocks.{name}": value for name, value in renamed_blocks(state, _BLOCK).items()}
    for their_name, our_name in _OUTSIDE.items():
        if their_name in state:
            found[our_name] = state[their_name]
    if f"{PATCHES}.weight" in state:
        weight, bias = state[f"{PATCHES}.weight"], state[f"{PATCHES}.bias"]
        if weight.shape[1] == len(IMAGENET_MEAN):
            weight, bias = rescaled_input(weight, bias, theirs, ours)
        found["patch_embed.proj.weight"], found["patch_embed.proj.bias"] = weight, bias
    return {f"model.{key}": value for key, value in found.items()}
