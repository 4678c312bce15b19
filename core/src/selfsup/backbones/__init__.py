"""The contract of a backbone. The networks themselves are in the plugins."""

from selfsup.backbones.base import (
    Adopted,
    Backbone,
    BackboneRecipe,
    Encoded,
    Finetuning,
    language_transformer_finetuning,
    vision_transformer_finetuning,
)
from selfsup.backbones.fitting import (
    Fitted,
    Scaling,
    fit_channels,
    fit_weights,
    resample_sequence,
    rescaled_input,
    whole_state,
)
from selfsup.backbones.large_vocabulary import chunked_over_tokens
from selfsup.backbones.several_parts import embed_part, freeze, hold_fixed, part_networks, pooled_over_parts, unfreeze
from selfsup.backbones.token_backbone import TokenBackbone, Tokens, grid_size, max_over_tokens, mean_over_tokens
from selfsup.backbones.weights import load_weights

__all__ = [
    "Adopted",
    "Backbone",
    "BackboneRecipe",
    "Encoded",
    "Finetuning",
    "Fitted",
    "Scaling",
    "TokenBackbone",
    "Tokens",
    "chunked_over_tokens",
    "embed_part",
    "fit_channels",
    "fit_weights",
    "freeze",
    "grid_size",
    "hold_fixed",
    "language_transformer_finetuning",
    "load_weights",
    "max_over_tokens",
    "mean_over_tokens",
    "part_networks",
    "pooled_over_parts",
    "resample_sequence",
    "rescaled_input",
    "unfreeze",
    "vision_transformer_finetuning",
    "whole_state",
]
