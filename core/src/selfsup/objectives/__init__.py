"""Losses on embeddings, one a file: the maths in functions, and an objective with its config, heads and state around each."""

from selfsup.objectives.barlow_twins import BarlowTwins, BarlowTwinsConfig, barlow_twins
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, Objective, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.byol import BYOL, BYOLConfig, normalized_mse
from selfsup.objectives.clip import CLIP, CLIPConfig, symmetric_contrast
from selfsup.objectives.cola import COLA, COLAConfig, bilinear_contrast
from selfsup.objectives.correspondence import Correspondence, CorrespondenceConfig
from selfsup.objectives.dcl import DCL, DCLConfig, dcl
from selfsup.objectives.dino import DINO, DINOConfig, dino_loss
from selfsup.objectives.lejepa import LeJEPA, LeJEPAConfig, random_directions, sigreg
from selfsup.objectives.masked_contrast import Contrast, masked_contrast, sample_negatives
from selfsup.objectives.moco import MoCoV2, MoCoV2Config, MoCoV3, MoCoV3Config, batch_contrast, queue_contrast
from selfsup.objectives.nt_xent import SimCLR, SimCLRConfig, nt_xent
from selfsup.objectives.parts.chance import chance_loss
from selfsup.objectives.parts.heads import CosineLinear, TokenHead, mlp
from selfsup.objectives.parts.kmeans import StreamingKMeans
from selfsup.objectives.parts.quantizer import ProductQuantizer, Quantized, QuantizerConfig
from selfsup.objectives.parts.queue import EmbeddingQueue
from selfsup.objectives.siglip import SigLIP, SigLIPConfig, pairwise_sigmoid
from selfsup.objectives.simsiam import SimSiam, SimSiamConfig, negative_cosine
from selfsup.objectives.swav import SwAV, SwAVConfig, sinkhorn, swapped_prediction
from selfsup.objectives.tico import TiCo, TiCoConfig, tico
from selfsup.objectives.vicreg import VICReg, VICRegConfig, variance_covariance, vicreg, vicreg_terms
from selfsup.objectives.vicregl import VICRegL, VICRegLConfig, match_tokens
from selfsup.runtime.distributed import SynchronizedBatchNorm, convert_split_batchnorm, convert_sync_batchnorm

__all__ = [
    "BYOL",
    "CLIP",
    "COLA",
    "DCL",
    "DINO",
    "BYOLConfig",
    "BarlowTwins",
    "BarlowTwinsConfig",
    "CLIPConfig",
    "COLAConfig",
    "Contrast",
    "Correspondence",
    "CorrespondenceConfig",
    "CosineLinear",
    "DCLConfig",
    "DINOConfig",
    "EmbeddingQueue",
    "JointEmbeddingObjective",
    "LeJEPA",
    "LeJEPAConfig",
    "LossOutput",
    "MoCoV2",
    "MoCoV2Config",
    "MoCoV3",
    "MoCoV3Config",
    "Objective",
    "ObjectiveRecipe",
    "ProductQuantizer",
    "Quantized",
    "QuantizerConfig",
    "SigLIP",
    "SigLIPConfig",
    "SimCLR",
    "SimCLRConfig",
    "SimSiam",
    "SimSiamConfig",
    "StreamingKMeans",
    "SwAV",
    "SwAVConfig",
    "SynchronizedBatchNorm",
    "TiCo",
    "TiCoConfig",
    "TokenHead",
    "VICReg",
    "VICRegConfig",
    "VICRegL",
    "VICRegLConfig",
    "ViewEmbeddings",
    "barlow_twins",
    "batch_contrast",
    "bilinear_contrast",
    "chance_loss",
    "convert_split_batchnorm",
    "convert_sync_batchnorm",
    "dcl",
    "dino_loss",
    "masked_contrast",
    "match_tokens",
    "mlp",
    "negative_cosine",
    "normalized_mse",
    "nt_xent",
    "pairwise_sigmoid",
    "queue_contrast",
    "random_directions",
    "sample_negatives",
    "sigreg",
    "sinkhorn",
    "swapped_prediction",
    "symmetric_contrast",
    "tico",
    "variance_covariance",
    "vicreg",
    "vicreg_terms",
]
