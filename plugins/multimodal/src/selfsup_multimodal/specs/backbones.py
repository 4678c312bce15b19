"""Networks for rows of several parts."""

from __future__ import annotations

from selfsup.registry.specs import BackboneSpec

_HERE = "selfsup_multimodal.backbones"

BACKBONES: tuple[BackboneSpec, ...] = (
    BackboneSpec(
        id="towers",
        summary="A network a part, any of its modality, and a joint space (CLIP).",
        target=f"{_HERE}.towers:TOWERS",
        modality="multimodal",
    ),
    BackboneSpec(
        id="fusion",
        summary="The tokens of all parts through one transformer (M3AE).",
        target=f"{_HERE}.fusion:FUSION",
        modality="multimodal",
        tokens=True,
    ),
)
