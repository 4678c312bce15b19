"""The task families: recipes that join a backbone, heads and an objective."""

from selfsup.objectives.base import Term
from selfsup.tasks.augmented import augmented
from selfsup.tasks.autoregressive.cpc import CPC_FAMILY
from selfsup.tasks.autoregressive.next_token import NEXT_TOKEN_FAMILY, NextToken, NextTokenConfig, autoregressive_recipe
from selfsup.tasks.base import (
    Corrupted,
    Corruption,
    CorruptionRecipe,
    InputChange,
    PretextTask,
    StepOutput,
    TaskFamilyRecipe,
    TaskRecipe,
    Transformation,
    TransformationRecipe,
    Transformed,
    Views,
    ViewsRecipe,
)
from selfsup.tasks.config_sections import accepts, with_defaults, with_section
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.joint_embedding.comparison import ComparesEmbeddings
from selfsup.tasks.joint_embedding.embed_views import encode_views
from selfsup.tasks.joint_embedding.task import JointEmbedding, joint_embedding_recipe
from selfsup.tasks.latent.data2vec import DATA2VEC_FAMILY
from selfsup.tasks.latent.ijepa import IJEPA_FAMILY
from selfsup.tasks.latent.vjepa import VJEPA_FAMILY
from selfsup.tasks.latent.wav2vec2 import WAV2VEC2_FAMILY
from selfsup.tasks.masked.cluster_prediction import CLUSTER_PREDICTION_FAMILY, ClusterFeatures, cluster_prediction_recipe
from selfsup.tasks.masked.masked_modeling import (
    MAE_FAMILY,
    SIMMIM_FAMILY,
    MaskedModeling,
    joined_weight,
    mask_token,
    masked_recipe,
    token_backbone,
)
from selfsup.tasks.parts.block_masking import MultiBlockMask, block_mask, multi_block_mask
from selfsup.tasks.parts.label_loss import label_loss
from selfsup.tasks.parts.moving_average import MomentumConfig, MomentumEncoder
from selfsup.tasks.parts.random_masking import (
    TokenMask,
    gather_tokens,
    mean_term,
    random_mask,
    split_by_score,
    tube,
    weighted_mean,
)
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.tasks.parts.transformer import HEAD_WIDTH, Block, Transformer, head_width, lattice_positions, visibility
from selfsup.tasks.reconstruction import DENOISING_FAMILY, ReconstructionFamilyRecipe, reconstruction_recipe
from selfsup.tasks.references import RandomInit, random_init, supervised
from selfsup.tasks.transformation import balanced_labels, transformation_recipe

__all__ = [
    "CLUSTER_PREDICTION_FAMILY",
    "CPC_FAMILY",
    "DATA2VEC_FAMILY",
    "DENOISING_FAMILY",
    "HEAD_WIDTH",
    "IJEPA_FAMILY",
    "MAE_FAMILY",
    "NEXT_TOKEN_FAMILY",
    "SIMMIM_FAMILY",
    "VJEPA_FAMILY",
    "WAV2VEC2_FAMILY",
    "Block",
    "ClusterFeatures",
    "ComparesEmbeddings",
    "Corrupted",
    "Corruption",
    "CorruptionRecipe",
    "InputChange",
    "JointEmbedding",
    "MaskedModeling",
    "MomentumConfig",
    "MomentumEncoder",
    "MultiBlockMask",
    "NextToken",
    "NextTokenConfig",
    "PretextTask",
    "RandomInit",
    "ReconstructionFamilyRecipe",
    "StepOutput",
    "TaskFamilyRecipe",
    "TaskRecipe",
    "Term",
    "TokenMask",
    "Transformation",
    "TransformationRecipe",
    "Transformed",
    "Transformer",
    "Views",
    "ViewsRecipe",
    "accepts",
    "augmented",
    "autoregressive_recipe",
    "balanced_labels",
    "block_mask",
    "cluster_prediction_recipe",
    "encode_views",
    "gather_tokens",
    "head_width",
    "joined_weight",
    "joint_embedding_recipe",
    "label_loss",
    "lattice_positions",
    "mask_token",
    "masked_recipe",
    "mean_term",
    "multi_block_mask",
    "random_init",
    "random_mask",
    "recipe_from_family",
    "reconstruction_recipe",
    "span_mask",
    "split_by_score",
    "supervised",
    "token_backbone",
    "transformation_recipe",
    "tube",
    "visibility",
    "weighted_mean",
    "with_defaults",
    "with_section",
]
