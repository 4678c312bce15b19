"""Mockingjay as the paper has it."""

from __future__ import annotations

from selfsup_audio.tasks.frame_reconstruction import frame_reconstruction_recipe

RECIPE = frame_reconstruction_recipe(
    optimization={"optimizer": "adamw", "lr": 4e-4, "weight_decay": 0.01, "warmup_fraction": 0.07, "clip": 1.0},
)
"""Mockingjay (Liu et al. 2019, arXiv 1910.12638): 15 % of the frames along time, 4e-4, 7 % of warm-up."""
