"""BYOL-A: BYOL on recordings that are mixed with others and stretched."""

from __future__ import annotations

from selfsup.objectives.byol import RECIPE as BYOL
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe
from selfsup_audio.augmentations import RECIPE as VIEWS

RECIPE = joint_embedding_recipe(
    BYOL,
    VIEWS,
    view_defaults={
        "longest_seconds": 0.96,
        "same_segment": True,
        "speed": (0.6, 1.5),
        "mixup": 0.4,
        "equalizer_db": 0.0,
        "noise_p": 0.0,
        "gain_db": 0.0,
    },
    optimization={"optimizer": "adam", "lr": 3e-4, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant"},
    momentum=(0.99, 0.99),
)
"""BYOL-A (Niizumi et al. 2021, arXiv 2103.06695): mixup of at most 0.4 of the energy and random resized crops, Adam at 3e-4.

Here both change the waveform; there they change the log-mel spectrogram, whose time and pitch are stretched each on its own.
The paper also normalises a batch by its statistics after augmentation; here the backbone normalises each clip.
"""
