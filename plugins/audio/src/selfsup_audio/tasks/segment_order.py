"""The order of shuffled segments."""

from __future__ import annotations

from selfsup.tasks.transformation import transformation_recipe
from selfsup_audio.transformations.segment_order import SegmentOrderConfig, build_segment_order

RECIPE = transformation_recipe(
    SegmentOrderConfig,
    build_segment_order,
    optimization={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01, "warmup_fraction": 0.05},
    head_dims=(256,),
)
"""After the jigsaw of images (Noroozi & Favaro 2016, arXiv 1603.09246), with an optimizer of today."""
