"""The backbone contract; the networks themselves live in the plugins."""

from selfsup.backbones.base import (
    Backbone,
    BackboneRecipe,
    Encoded,
    Finetuning,
    TokenBackbone,
    Tokens,
    grid_size,
    language_transformer_finetuning,
    max_over_tokens,
    mean_over_tokens,
    vision_transformer_finetuning,
)
from selfsup.backbones.parts import freeze, pooled_over_parts, unfreeze

__all__ = [
    "Backbone",
    "BackboneRecipe",
    "Encoded",
    "Finetuning",
    "TokenBackbone",
    "Tokens",
    "freeze",
    "grid_size",
    "language_transformer_finetuning",
    "max_over_tokens",
    "mean_over_tokens",
    "pooled_over_parts",
    "unfreeze",
    "vision_transformer_finetuning",
]
