"""V-JEPA: predict a teacher's representation of masked blocks in space and time."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import Field

from selfsup.backbones import Backbone, TokenBackbone, Tokens
from selfsup.config import Config
from selfsup.tasks.base import TaskFamilyRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.latent.ijepa import JointEmbeddingPrediction, Predictor
from selfsup.tasks.latent.teacher import TeacherConfig
from selfsup.tasks.masked.masked_modeling import token_backbone
from selfsup.tasks.parts.block_masking import MultiBlockMask, multi_block_mask
from selfsup.tasks.parts.transformer import head_width
from selfsup.types import Info


class ShortRangeConfig(Config):
    """Small blocks that are hidden together; along the axes before the last two (time) they reach from end to end."""

    n_blocks: int = Field(default=8, ge=1)
    """Blocks in the union, which may overlap; 8 in the paper."""
    scale: float = Field(default=0.15, gt=0, le=1)
    """Share of the lattice's last two axes that each block covers; 0.15 in the paper."""
    context_share: float = Field(default=0.2, gt=0, le=1)
    """Most of the N tokens that the context keeps, random ones; the authors' code keeps a batch's least."""
    target_share: float = Field(default=0.6, gt=0, le=1)
    """Most of the N tokens that are predicted, random ones of the union; the authors' code predicts a batch's least."""


class LongRangeConfig(ShortRangeConfig):
    """Large blocks that are hidden together."""

    n_blocks: int = Field(default=2, ge=1)
    """Blocks in the union, which may overlap; 2 in the paper."""
    scale: float = Field(default=0.7, gt=0, le=1)
    """Share of the lattice's last two axes that each block covers; 0.7 in the paper."""
    context_share: float = Field(default=0.1, gt=0, le=1)
    """Most of the N tokens that the context keeps, random ones; the authors' code keeps a batch's least."""
    target_share: float = Field(default=0.8, gt=0, le=1)
    """Most of the N tokens that are predicted, random ones of the union; the authors' code predicts a batch's least."""


class VJEPATeacherConfig(TeacherConfig):
    """How slowly V-JEPA's teacher follows."""

    start: float = Field(default=0.998, ge=0, le=1)
    """Share of the old weights that an update keeps, at the beginning of the run; 0.998 in the paper, for 90,000 updates."""


class VJEPAConfig(Config):
    """Options of V-JEPA."""

    short_range: ShortRangeConfig = ShortRangeConfig()
    """The first mask: many small blocks."""
    long_range: LongRangeConfig = LongRangeConfig()
    """The second mask: few large blocks."""
    aspect: tuple[float, float] = (0.75, 1.5)
    """Least and largest height / width of a block; 0.75 to 1.5 in the paper."""
    min_context: int = Field(default=4, ge=1)
    """Least tokens of context, for lattices so small that the blocks can cover it all."""
    beta: float = Field(default=0.0, ge=0)
    """Where smooth L1 goes from squared to absolute error; 0: the absolute error throughout, which is the paper's L1."""
    predictor_dim: int | None = Field(default=None, ge=4)
    """Width of the predictor; None: half the backbone's; 384 in the paper, where the backbones are 1024 and 1280 wide."""
    predictor_depth: int = Field(default=12, ge=1)
    """Blocks of the predictor; 12 in the paper."""
    predictor_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the predictor; None: one per 32 channels, which is the paper's 12 for 384."""
    teacher: VJEPATeacherConfig = VJEPATeacherConfig()
    """The moving average that gives the targets; 0.998 to 1 along a line in the paper.

    The authors' configuration stretches its schedules by 1.25, so that their run ends at 0.9996.
    """


class VJEPA(JointEmbeddingPrediction):
    """Video joint-embedding predictive architecture (Bardes et al. 2024, arXiv 2404.08471), for any tokens.

    Each sample is masked twice, by many small and by few large blocks, which hide a place at all times; the union of the blocks
    is predicted at once from what it leaves, by absolute error (equation 1). The paper's code has a mask token of its own for
    each of the two masks and cuts contexts and targets to the length of a batch's smallest; here there is one mask
    token, and random tokens are left out beyond a fixed share.
    """

    def __init__(self, config: VJEPAConfig, backbone: TokenBackbone) -> None:
        dim = head_width(config.predictor_dim, backbone.embed_dim)
        predictor = Predictor(backbone.embed_dim, dim, config.predictor_depth, config.predictor_heads)
        super().__init__(backbone, predictor, config.teacher, config.beta)
        self.config = config

    def draw_masks(self, tokens: Tokens, generator: torch.Generator | None) -> list[MultiBlockMask]:
        """The short-range and the long-range mask."""
        config = self.config
        return [
            multi_block_mask(
                tokens.embeddings.shape[0], tokens.grid,
                n_targets=blocks.n_blocks, target_scale=(blocks.scale, blocks.scale), target_aspect=config.aspect,
                context_scale=None, context_share=blocks.context_share, min_context=config.min_context,
                union_share=blocks.target_share, padding=tokens.padding, generator=generator,
                device=tokens.embeddings.device,
            )
            for blocks in (config.short_range, config.long_range)
        ]  # fmt: skip


def build_vjepa(config: VJEPAConfig, backbone: Backbone, info: Info) -> VJEPA:
    """Build V-JEPA around a token backbone."""
    return VJEPA(config, token_backbone(backbone, "V-JEPA"))


VJEPA_FAMILY = TaskFamilyRecipe(
    config=VJEPAConfig,
    build=build_vjepa,
    optimization={
        "optimizer": "adamw",
        "base_lr": 5.2e-5,
        "weight_decay": 0.04,
        "weight_decay_end": 0.4,
        "warmup_fraction": 0.13,
        "clip": 10.0,
    },
)
"""V-JEPA with the authors' settings for ViT-H (6.25e-4 at a batch of 3072, 40 of 300 epochs of warm-up)."""

vjepa_recipe = partial(recipe_from_family, VJEPA_FAMILY)
"""A V-JEPA task for any token backbone: see :func:`~selfsup.tasks.family.recipe_from_family`."""
