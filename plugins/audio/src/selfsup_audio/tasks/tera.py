"""TERA as the paper has it."""

from __future__ import annotations

from selfsup_audio.tasks.frame_reconstruction import frame_reconstruction_recipe

RECIPE = frame_reconstruction_recipe(
    predict="all",
    alteration={"frequency_share": 0.2, "noise_probability": 0.15},
    optimization={"optimizer": "adamw", "lr": 2e-4, "weight_decay": 0.01, "warmup_fraction": 0.07, "clip": 1.0},
)
"""TERA (Liu et al. 2020, arXiv 2007.06028): time, frequency and magnitude altered, 2e-4, 7 % of warm-up."""
