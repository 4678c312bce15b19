"""COLA: two segments of one recording belong together."""

from __future__ import annotations

from selfsup.objectives.cola import RECIPE as COLA
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe
from selfsup_audio.augmentations import RECIPE as VIEWS

RECIPE = joint_embedding_recipe(
    COLA,
    VIEWS,
    view_defaults={
        "longest_seconds": 1.92,
        "global_share": (0.5, 0.5), "speed": (1.0, 1.0), "mixup": 0.0, "equalizer_db": 0.0, "noise_p": 0.0, "gain_db": 0.0,
    },
    optimization={"lr": 1e-3},
)  # fmt: skip
"""COLA (Saeed et al. 2020, arXiv 2010.10915): segments and nothing else.

Segments of 0.96 s, and of half a recording where that is shorter. The learning rate is ten times the paper's, which trains for
500 epochs of two million clips.
"""
