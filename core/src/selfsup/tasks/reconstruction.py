"""Reconstruction: corrupt the input, predict what was there (denoising, inpainting, colorization)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.config_layers import merge_layers
from selfsup.tasks.base import Corruption, CorruptionRecipe, PretextTask, StepOutput, TaskRecipe
from selfsup.tasks.config_sections import with_defaults, with_section
from selfsup.types import Batch, Info


class ReconstructionConfig(Config):
    """Options of reconstruction beside those of the modality's corruption, which come in a section ``corruption``."""


class Reconstruction(PretextTask):
    """Denoising autoencoder (Vincent et al. 2008, ICML; 2010, JMLR 11): corrupt, encode, decode, compare with what was there.

    What is corrupted, how it is decoded and compared is the modality's :class:`~selfsup.tasks.Corruption`.
    """

    def __init__(self, backbone: Backbone, corruption: Corruption) -> None:
        super().__init__()
        self.backbone = backbone
        self.corruption = corruption
        self.decoder = corruption.build_decoder(backbone)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Corrupt, encode, decode, compare."""
        corrupted = self.corruption(batch, generator)
        prediction = self.decoder(self.backbone(corrupted.batch))
        return StepOutput.of(self.corruption.loss(prediction, corrupted))

    def after_step(self, progress: float) -> None:
        """Tell the corruption."""
        self.corruption.after_step(progress)


@dataclass(frozen=True)
class ReconstructionFamilyRecipe:
    """A way to train reconstruction with any corruption of any modality.

    As :class:`~selfsup.tasks.TaskFamilyRecipe`, but ``build`` takes the modality's corruption as well.
    """

    config: type[Config]
    build: Callable[[Any, Backbone, Info, Corruption], PretextTask]
    optimization: dict[str, Any] = field(default_factory=dict)
    """The paper's optimizer settings: overrides of ``selfsup.training.OptimizationConfig`` fields."""


def build_reconstruction(
    config: ReconstructionConfig, backbone: Backbone, info: Info, corruption: Corruption
) -> Reconstruction:
    """Build the task around any backbone that the corruption has a decoder for."""
    return Reconstruction(backbone, corruption)


DENOISING_FAMILY = ReconstructionFamilyRecipe(
    config=ReconstructionConfig,
    build=build_reconstruction,
    optimization={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "warmup_fraction": 0.05},
)
"""Denoising; the paper trained with plain SGD layer by layer, these settings are of today's transformers and ResNets."""


def reconstruction_recipe(
    corruption: CorruptionRecipe,
    *,
    family: ReconstructionFamilyRecipe = DENOISING_FAMILY,
    optimization: dict[str, Any] | None = None,
    **defaults: Any,
) -> TaskRecipe:
    """A reconstruction task; its config has the corruption's options in the section ``corruption``.

    Args:
        corruption: how the modality corrupts and decodes.
        family: how it is trained.
        optimization: changes to its optimizer settings.
        defaults: other defaults for the corruption's fields.

    Raises:
        ConfigError: a default is of no field, or breaks its limits.
    """
    section = with_defaults(corruption.config, defaults)
    config = with_section(family.config, "corruption", section, "How the input is corrupted.")
    return TaskRecipe(
        config=config,
        build=_builder(family, corruption),
        optimization=merge_layers(family.optimization, optimization or {}),
    )


def _builder(family: ReconstructionFamilyRecipe, recipe: CorruptionRecipe) -> Callable[[Any, Backbone, Info], PretextTask]:
    def build(config: Any, backbone: Backbone, info: Info) -> PretextTask:
        return family.build(config, backbone, info, recipe.build(config.corruption, info))

    return build
