"""data2vec as the paper has it for text."""

from __future__ import annotations

from dataclasses import replace

from selfsup.tasks.latent.data2vec import data2vec_recipe

_TEXT = data2vec_recipe(
    masking="random",
    mask_ratio=0.15,
    top_layers=10,
    beta=4.0,
    head_layers=2,
    teacher={"start": 0.999, "end": 0.9999, "ramp": 0.1},
    optimization={"optimizer": "adamw", "lr": 5e-4, "betas": (0.9, 0.98), "weight_decay": 0.01, "warmup_fraction": 0.05},
)
RECIPE = replace(_TEXT, processor={"packing": "blocks"})
"""data2vec for text (Baevski et al. 2022, arXiv 2202.03555, section 4.3): a learned vector stands for every hidden token."""
