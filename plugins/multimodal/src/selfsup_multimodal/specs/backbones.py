"""Networks for rows of several parts."""

from __future__ import annotations

from selfsup.registry import BackboneSpec

_HERE = "selfsup_multimodal.backbones"

BACKBONES: tuple[BackboneSpec, ...] = (
    BackboneSpec(
        id="towers",
        summary="One encoder per part, projected into a joint space (CLIP).",
        target=f"{_HERE}.towers:TOWERS",
        modality="multimodal",
    ),
    BackboneSpec(
        id="fusion",
        summary="One transformer over the tokens of all parts (M3AE).",
        target=f"{_HERE}.fusion:FUSION",
        modality="multimodal",
        tokens=True,
    ),
)
