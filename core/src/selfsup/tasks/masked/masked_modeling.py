"""Masked modelling: predict masked tokens. MAE encodes only the visible tokens, SimMIM uses mask tokens."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone, TokenBackbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks.base import PretextTask, StepOutput, TaskFamilyRecipe, TaskRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.parts.random_masking import TokenMask, gather_tokens, mean_term, random_mask, tube
from selfsup.tasks.parts.transformer import Transformer, head_width, lattice_positions
from selfsup.types import Batch, Info


class MAEConfig(Config):
    """Options of MAE."""

    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of the tokens that is hidden from the encoder; 0.75 in the paper."""
    tube: bool = False
    """Hide a place at all times (along the lattice's first axis) or at none, as VideoMAE does; not so in the paper."""
    decoder_dim: int | None = Field(default=None, ge=4)
    """Width of the decoder; None: half the backbone's, which is the paper's 512 for ViT-L."""
    decoder_depth: int = Field(default=8, ge=0)
    """Blocks of the decoder; 8 in the paper."""
    decoder_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the decoder; None: one per 32 channels, which is the paper's 16 for 512."""
    normalize_targets: bool = True
    """Give each continuous target zero mean and unit variance over its own P numbers; the paper's better variant."""


class SimMIMConfig(Config):
    """Options of SimMIM."""

    mask_ratio: float = Field(default=0.6, gt=0, lt=1)
    """Share of the tokens that is replaced by the mask token; 0.6 in the paper."""
    block: int = Field(default=2, ge=1)
    """Side in tokens of the blocks that are masked together; 2 in the paper's ViT-B (32 pixels at 16-pixel patches)."""
    normalize_targets: bool = False
    """Give each continuous target zero mean and unit variance over its own P numbers; not so in the paper."""


class MaskedModeling(PretextTask):
    """What both share: a token backbone, targets, and the loss on hidden tokens alone."""

    backbone: TokenBackbone
    distance: Literal["squared", "absolute"]

    def __init__(self, backbone: TokenBackbone, dim: int, normalize_targets: bool, head: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize_targets = normalize_targets
        self.head = backbone.target_head(dim) if head is None else head

    def loss(self, hidden: Tensor, batch: Batch, mask: TokenMask) -> StepOutput:
        """The loss of predicting the hidden tokens' targets.

        Args:
            hidden: [B, M, dim], what is known at the hidden tokens; only these pass the head.
            batch: what the targets are read from.
            mask: which tokens they are.
        """
        target = gather_tokens(self.backbone.targets(batch), mask.hidden)
        if self.normalize_targets:
            target = self.backbone.normalize_targets(target)
        loss = self.backbone.predicted_loss(self.head, hidden, target, mask.hidden, distance=self.distance)
        return StepOutput.of(mean_term(loss, joined_weight(mask.weight, self.backbone.target_weight(batch), mask.hidden)))


class MAE(MaskedModeling):
    """Masked autoencoder (He et al. 2021, arXiv 2111.06377).

    The backbone encodes the kept tokens only; a narrow transformer gets them back in their places, with a learned token in
    all others, and the hidden tokens' targets are predicted with squared error (cross-entropy where they are classes).
    Unlike the paper's code the class token, which is the backbone's own affair, is not handed to the decoder.
    """

    distance = "squared"

    def __init__(self, config: MAEConfig, backbone: TokenBackbone) -> None:
        dim = head_width(config.decoder_dim, backbone.embed_dim)
        super().__init__(backbone, dim, config.normalize_targets)
        self.mask_ratio, self.tube = config.mask_ratio, config.tube
        self.embed = nn.Linear(backbone.embed_dim, dim)
        self.decoder = Transformer(dim, config.decoder_depth, config.decoder_heads)
        self.mask_token = mask_token(dim)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Mask, encode what is left, decode, compare."""
        tokens = self.backbone.tokenize(batch)
        B, N, _ = tokens.embeddings.shape
        mask = random_mask(
            B, tokens.grid, self.mask_ratio,
            block=tube(tokens.grid) if self.tube else 1,
            padding=tokens.padding, generator=generator, device=tokens.embeddings.device,
        )  # fmt: skip
        kept = self.embed(self.backbone.encode(tokens, keep=mask.keep))
        places = mask.keep.unsqueeze(-1).expand_as(kept)
        full = self.mask_token.to(kept.dtype).expand(B, N, -1).scatter(1, places, kept)
        placed = full + lattice_positions(tokens.grid, full.shape[-1], full.device)
        decoded = self.decoder(placed, tokens.padding, None, tokens.group)
        return self.loss(gather_tokens(decoded, mask.hidden), batch, mask)


class SimMIM(MaskedModeling):
    """Simple masked image modelling (Xie et al. 2021, arXiv 2111.09886), for any tokens.

    Mask tokens take the place of hidden content in the backbone's input, and the target head alone (one linear layer)
    predicts it, with absolute error (cross-entropy where targets are classes). With ``block=1`` on word ids this is masked
    language modelling.
    """

    distance = "absolute"

    def __init__(self, config: SimMIMConfig, backbone: TokenBackbone) -> None:
        super().__init__(backbone, backbone.embed_dim, config.normalize_targets)
        self.mask_ratio, self.block = config.mask_ratio, config.block
        self.mask_token = mask_token(backbone.embed_dim)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Put mask tokens in, encode, compare."""
        tokens = self.backbone.tokenize(batch)
        mask = random_mask(
            tokens.embeddings.shape[0], tokens.grid, self.mask_ratio,
            block=self.block, padding=tokens.padding, generator=generator, device=tokens.embeddings.device,
        )  # fmt: skip
        encoded = self.backbone.encode(tokens.masked(mask.mask, self.mask_token))
        return self.loss(gather_tokens(encoded, mask.hidden), batch, mask)


def joined_weight(weight: Tensor | None, known: Tensor | None, index: Tensor) -> Tensor | None:
    """[B, M] float or None, which tokens at ``index`` ([B, M]) count by ``weight`` ([B, M]) and ``known`` ([B, N])."""
    if known is None:
        return weight
    known = gather_tokens(known, index)
    return known if weight is None else weight * known


def mask_token(dim: int) -> nn.Parameter:
    """[dim], what stands in for hidden content; starts normal with deviation 0.02."""
    return nn.Parameter(torch.randn(dim) * 0.02)


def token_backbone(backbone: Backbone, method: str) -> TokenBackbone:
    """``backbone``, if it has tokens.

    Raises:
        ConfigError: it has none.
    """
    if not isinstance(backbone, TokenBackbone):
        raise ConfigError(
            f"{method} hides tokens, and {type(backbone).__name__} has none. Choose a backbone with tokens: "
            f"`selfsup list backbones --modality {backbone.modality}` says which have."
        )
    return backbone


def build_mae(config: MAEConfig, backbone: Backbone, info: Info) -> MAE:
    """Build MAE around a token backbone."""
    return MAE(config, token_backbone(backbone, "MAE"))


def build_simmim(config: SimMIMConfig, backbone: Backbone, info: Info) -> SimMIM:
    """Build SimMIM around a token backbone."""
    return SimMIM(config, token_backbone(backbone, "SimMIM"))


MAE_FAMILY = TaskFamilyRecipe(
    config=MAEConfig,
    build=build_mae,
    optimization={"optimizer": "adamw", "base_lr": 1.5e-4, "betas": (0.9, 0.95), "weight_decay": 0.05, "warmup_fraction": 0.05},
)
"""MAE with the paper's settings (800 epochs, 40 of them warm-up)."""

SIMMIM_FAMILY = TaskFamilyRecipe(
    config=SimMIMConfig,
    build=build_simmim,
    optimization={"optimizer": "adamw", "base_lr": 1e-4, "weight_decay": 0.05, "warmup_fraction": 0.1, "clip": 5.0},
)
"""SimMIM with the paper's settings (100 epochs, 10 of them warm-up; 8e-4 at a batch of 2048)."""

_OBJECTIVES = {"mae": MAE_FAMILY, "simmim": SIMMIM_FAMILY}


def masked_recipe(method: Literal["mae", "simmim"] = "mae", **options: Any) -> TaskRecipe:
    """A masked-modelling task for any token backbone.

    Args:
        method: ``mae`` or ``simmim``.
        options: the arguments of :func:`~selfsup.tasks.family.recipe_from_family`.

    Raises:
        ConfigError: a default is of no field, or breaks its limits.
    """
    return recipe_from_family(_OBJECTIVES[method], **options)
