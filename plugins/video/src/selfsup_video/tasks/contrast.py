"""CVRL: contrast of two windows of a video against those of others."""

from __future__ import annotations

from selfsup.objectives.nt_xent import RECIPE as SIMCLR_OBJECTIVE
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe
from selfsup_video.augmentations.views import RECIPE as VIEWS

CVRL = joint_embedding_recipe(
    SIMCLR_OBJECTIVE,
    VIEWS,
    view_defaults={"interval": "decreasing"},
    optimization={"optimizer": "sgd", "base_lr": 0.08, "momentum": 0.9, "weight_decay": 1e-6, "warmup_epochs": 5},
)
"""CVRL (Qian et al. 2020, arXiv:2008.03800): NT-Xent on windows whose distance in time has a falling density, with the
optimizer of the authors' configuration (0.32 at a batch of 1024)."""
