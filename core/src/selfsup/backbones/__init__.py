"""The backbone contract; the networks themselves live in the plugins."""

from selfsup.backbones.base import Backbone, BackboneRecipe, Encoded, TokenBackbone, Tokens, grid_size, mean_over_tokens

__all__ = ["Backbone", "BackboneRecipe", "Encoded", "TokenBackbone", "Tokens", "grid_size", "mean_over_tokens"]
