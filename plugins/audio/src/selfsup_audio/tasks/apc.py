"""Autoregressive predictive coding: foretell the spectrum some frames on."""

from __future__ import annotations

from selfsup.tasks.autoregressive.next_token import autoregressive_recipe

RECIPE = autoregressive_recipe(
    steps_ahead=3,
    optimization={
        "optimizer": "adam", "lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.0, "final_lr_fraction": 0.0,
        "warmup_fraction": 0.0, "clip": 1.0,
    },
)  # fmt: skip
"""APC (Chung et al. 2019, arXiv 1904.03240): log-mel frames 3 tokens on, absolute error; Adam at 1e-3 (there 1e-4)."""
