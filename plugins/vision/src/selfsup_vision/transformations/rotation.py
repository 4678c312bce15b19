"""Predict the rotation of an image."""

from __future__ import annotations

import torch

from selfsup.config import Config
from selfsup.tasks import Transformation, TransformationRecipe, Transformed
from selfsup.types import Batch, Info


class RotationConfig(Config):
    """Options of :class:`Rotation`; it has none."""


class Rotation(Transformation):
    """Rotations by 0, 90, 180 and 270 degrees, all four of each image (Gidaris et al. 2018, arXiv:1803.07728).

    Pixels are moved and never interpolated, so that no artefact reveals the angle (section 3.1 of the paper).
    """

    kind = "class"
    n_outputs = 4

    def __init__(self, config: RotationConfig, info: Info) -> None:
        super().__init__()

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, 3, S, S] to [4B, 3, S, S]: the four rotations (counter-clockwise) of an image follow each other."""
        image = batch["image"]
        turned = torch.stack([image, *(torch.rot90(image, turns, dims=(2, 3)) for turns in (1, 2, 3))], dim=1)
        label = torch.arange(4, device=image.device).repeat(image.shape[0])
        return Transformed({"image": turned.flatten(0, 1)}, label)


RECIPE = TransformationRecipe(config=RotationConfig, build=Rotation)
"""The transformation of ``vision/rotation``."""
