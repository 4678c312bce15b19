"""Losses on embeddings, one a file: the maths in functions, and an objective with its config, heads and state around each."""

from selfsup.objectives.barlow_twins import BarlowTwins, BarlowTwinsConfig, barlow_twins
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, Objective, ObjectiveRecipe, Term, ViewEmbeddings
from selfsup.objectives.byol import BYOL, BYOLConfig, normalized_mse
from selfsup.objectives.clip import CLIP, CLIPConfig, symmetric_contrast
from selfsup.objectives.clip import RECIPE as CLIP_OBJECTIVE
from selfsup.objectives.cola import COLA, COLAConfig, bilinear_contrast
from selfsup.objectives.correspondence import Correspondence, CorrespondenceConfig
from selfsup.objectives.dcl import DCL, DCLConfig, dcl
from selfsup.objectives.dino import DINO, DINOConfig, dino_loss
from selfsup.objectives.lejepa import LeJEPA, LeJEPAConfig, random_directions, sigreg
from selfsup.objectives.masked_contrast import Contrast, masked_contrast, sample_negatives
from selfsup.objectives.moco import MoCoV2, MoCoV2Config, MoCoV3, MoCoV3Config, batch_contrast, queue_contrast
from selfsup.objectives.nt_xent import SimCLR, SimCLRConfig, nt_xent
from selfsup.objectives.parts.chance import chance_loss
from selfsup.objectives.parts.embeddings import Embeddings
from selfsup.objectives.parts.heads import CosineLinear, TokenHead, mlp
from selfsup.objectives.parts.kmeans import StreamingKMeans
from selfsup.objectives.parts.quantizer import ProductQuantizer, Quantized, QuantizerConfig
from selfsup.objectives.parts.queue import EmbeddingQueue
from selfsup.objectives.parts.valid_rows import counted, in_both_views, not_compared, only_valid, valid_mean
from selfsup.objectives.siglip import SigLIP, SigLIPConfig, pairwise_sigmoid
from selfsup.objectives.simsiam import SimSiam, SimSiamConfig, negative_cosine
from selfsup.objectives.swav import SwAV, SwAVConfig, sinkhorn, swapped_prediction
from selfsup.objectives.tico import TiCo, TiCoConfig, tico
from selfsup.objectives.vicreg import VICReg, VICRegConfig, variance_covariance, vicreg, vicreg_terms
from selfsup.objectives.vicregl import VICRegL, VICRegLConfig, match_tokens
from selfsup.public_names import Moved, lazy_names

__all__ = [
    "BYOL",
    "CLIP",
    "CLIP_OBJECTIVE",
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
    "Embeddings",
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
    "Term",
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
    "counted",
    "dcl",
    "dino_loss",
    "in_both_views",
    "masked_contrast",
    "match_tokens",
    "mlp",
    "negative_cosine",
    "normalized_mse",
    "not_compared",
    "nt_xent",
    "only_valid",
    "pairwise_sigmoid",
    "queue_contrast",
    "random_directions",
    "sample_negatives",
    "sigreg",
    "sinkhorn",
    "swapped_prediction",
    "symmetric_contrast",
    "tico",
    "valid_mean",
    "variance_covariance",
    "vicreg",
    "vicreg_terms",
]

__getattr__ = lazy_names(
    __name__,
    moved={
        name: Moved(f"selfsup.runtime:{name}", since="0.1", until="0.3", not_before="2027-06-01")
        for name in ("SynchronizedBatchNorm", "convert_split_batchnorm", "convert_sync_batchnorm")
    },
)
