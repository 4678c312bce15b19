"""data2vec as the paper has it for speech."""

from __future__ import annotations

from selfsup.tasks.latent.data2vec import data2vec_recipe

RECIPE = data2vec_recipe(
    masking="spans",
    top_layers=8,
    beta=None,
    teacher={"start": 0.999, "end": 0.9999, "ramp": 0.075},
    optimization={"optimizer": "adamw", "lr": 5e-4, "betas": (0.9, 0.98), "weight_decay": 0.01, "warmup_fraction": 0.03},
)
"""data2vec for speech (Baevski et al. 2022, arXiv 2202.03555, section 4.2)."""
