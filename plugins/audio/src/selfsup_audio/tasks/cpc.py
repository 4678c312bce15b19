"""Contrastive predictive coding on recordings."""

from __future__ import annotations

from selfsup.tasks.autoregressive.cpc import cpc_recipe

RECIPE = cpc_recipe(optimization={"lr": 1e-3, "clip": 1.0})
"""CPC (van den Oord et al. 2018, arXiv 1807.03748), on log-mel frames in place of a waveform, and with a higher learning rate
(there 2e-4 for 300,000 updates)."""
