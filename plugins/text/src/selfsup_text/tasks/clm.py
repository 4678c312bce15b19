"""Causal language modelling: the core's next-token prediction on packed blocks."""

from __future__ import annotations

from selfsup.tasks.autoregressive import autoregressive_recipe

RECIPE = autoregressive_recipe(processor={"packing": "blocks"})
"""GPT's task (Radford et al. 2018)."""
