"""M3AE: masked autoencoding of several parts together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import (
    PretextTask,
    StepOutput,
    TaskFamilyRecipe,
    TokenMask,
    Transformer,
    gather_tokens,
    head_width,
    joined_weight,
    lattice_positions,
    mask_token,
    mean_term,
    random_mask,
)
from selfsup.types import Batch, Info
from selfsup_multimodal.backbones.fused_tokens import FusedTokens
from selfsup_multimodal.backbones.fusion import Fusion, fused
from selfsup_multimodal.joined_info import joined_parts


class JointMAEConfig(Config):
    """Options of masked autoencoding of several parts."""

    usual_weights: ClassVar[Mapping[str, float]] = {"text": 0.1}
    """Defaults of single entries of ``weights``."""
    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of each part's tokens that is hidden; 0.75 for images and texts in the paper."""
    mask_ratios: dict[str, float] = Field(default_factory=dict)
    """By part name or modality: another share of its tokens (``mask_ratios.text=0.5``)."""
    weights: dict[str, float] = Field(default_factory=lambda: {"text": 0.1})
    """By part name or modality: weight of its loss; else 0.1 for texts, as in the authors' code, and 1 for others."""
    decoder_dim: int | None = Field(default=None, ge=4)
    """Width of the decoder; None: half the backbone's; 512 in the paper, where the backbone has 768 and more."""
    decoder_depth: int = Field(default=4, ge=0)
    """Blocks of the decoder; 8 in the paper."""
    decoder_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the decoder; None: one per 32 channels, which is the paper's 16 for 512."""
    normalize_targets: bool = True
    """Normalise each continuous target to zero mean and unit variance, as MAE's better variant does."""

    @field_validator("weights")
    @classmethod
    def _with_the_usual(cls, value: dict[str, float]) -> dict[str, float]:
        return {**cls.usual_weights, **value}


class HiddenLoss(NamedTuple):
    """The losses of a part's hidden tokens."""

    loss: Tensor
    """[B, M]."""
    weight: Tensor | None
    """[B, M], 0 in slots without a hidden token or without a target; None: all are 1."""


class JointMAE(PretextTask):
    """Multimodal masked autoencoder (M3AE: Geng et al. 2022, arXiv:2205.14204), for any parts.

    A share of each part's tokens is hidden. The backbone encodes the visible tokens of all parts together. A narrow transformer
    sees them at their positions, with a learned token elsewhere, and predicts the hidden tokens: patches by squared error, ids
    by cross-entropy, each part with its own head. The loss is the weighted sum of the parts' means over their hidden tokens.
    Missing parts are neither seen nor predicted.

    Raises:
        ConfigError: an option names an unknown part.
    """

    backbone: Fusion

    def __init__(self, config: JointMAEConfig, backbone: Fusion, info: Info) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        modalities = {name: part.modality for name, part in joined_parts(info).items()}
        self.ratios = by_part(config.mask_ratios, modalities, config.mask_ratio, "objective.mask_ratios")
        self.weights = by_part(config.weights, modalities, 1.0, "objective.weights", config.usual_weights)
        if wrong := [name for name, ratio in self.ratios.items() if not 0 < ratio < 1]:
            raise ConfigError(f"mask_ratios of {wrong[0]} is {self.ratios[wrong[0]]}: it must be above 0 and below 1.")
        dim = head_width(config.decoder_dim, backbone.embed_dim)
        self.to_decoder = nn.Linear(backbone.embed_dim, dim)
        self.decoder = Transformer(dim, config.decoder_depth, config.decoder_heads)
        self.mask_token = mask_token(dim)
        self.part_embedding = nn.ParameterDict({name: torch.randn(dim) * 0.02 for name in backbone.part_dims})
        self.heads = nn.ModuleDict({name: backbone.tokenizer(name).target_head(dim) for name in backbone.part_dims})

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Mask each part, encode the visible tokens, decode, compare."""
        tokens = self.backbone.tokenize(batch)
        masks = self.draw_masks(tokens, generator)
        keep = kept_of(tokens, masks)
        return self.mean_losses(self.reconstruct(batch, tokens, masks, keep, self.backbone.encode(tokens, keep=keep)))

    def draw_masks(self, tokens: FusedTokens, generator: torch.Generator | None) -> dict[str, TokenMask]:
        """Draw which tokens of each part are hidden; indices count within the part.

        Raises:
            ConfigError: a part has fewer than two tokens.
        """
        masks = {}
        for name, (begin, end) in tokens.spans.items():
            padding = None if tokens.padding is None else tokens.padding[:, begin:end]
            masks[name] = random_mask(
                tokens.embeddings.shape[0], (end - begin,), self.ratios[name],
                padding=padding, generator=generator, device=tokens.embeddings.device,
            )  # fmt: skip
        return masks

    def reconstruct(
        self, batch: Batch, tokens: FusedTokens, masks: Mapping[str, TokenMask], keep: Tensor, encoded: Tensor
    ) -> dict[str, HiddenLoss]:
        """The loss of each hidden token, by part.

        Args:
            batch: holds the targets.
            tokens: of all parts.
            masks: from :meth:`draw_masks`.
            keep: [B, K] long, which tokens were encoded.
            encoded: [B, K, D].
        """
        kept = self.to_decoder(encoded)
        B, N, _ = tokens.embeddings.shape
        places = keep.unsqueeze(-1).expand_as(kept)
        full = self.mask_token.to(kept.dtype).expand(B, N, -1).scatter(1, places, kept)
        decoded = self.decoder(full + self._positions(tokens, full.shape[-1]), tokens.padding)
        targets, known = self.backbone.targets(batch), self.backbone.target_weight(batch)
        if self.config.normalize_targets:
            targets = self.backbone.normalize_targets(targets)
        losses: dict[str, HiddenLoss] = {}
        for name, (begin, end) in tokens.spans.items():
            hidden = masks[name].hidden
            prediction = self.heads[name](gather_tokens(decoded[:, begin:end], hidden))
            loss = self.backbone.part_loss(name, prediction, gather_tokens(targets[:, begin:end], hidden))
            weight = joined_weight(masks[name].weight, None if known is None else known[:, begin:end], hidden)
            losses[name] = HiddenLoss(loss, weight)
        return losses

    def mean_losses(self, losses: Mapping[str, HiddenLoss]) -> StepOutput:
        """The weighted sum of the parts' means, one term per part."""
        means = {name: mean_term(*own) for name, own in losses.items()}
        metrics = {f"{name}_loss": term.loss.detach() for name, term in means.items()}
        return StepOutput.of(*(term.scaled(self.weights[name]) for name, term in means.items()), metrics=metrics)

    def _positions(self, tokens: FusedTokens, dim: int) -> Tensor:
        """[N, dim], sine-cosine positions on each part's lattice plus a learned vector per part."""
        own = [
            lattice_positions(grid, dim, tokens.embeddings.device) + self.part_embedding[name]
            for name, grid in tokens.grids.items()
        ]
        return torch.cat(own)


def kept_of(tokens: FusedTokens, masks: Mapping[str, TokenMask]) -> Tensor:
    """[B, K] long, the visible tokens of all parts."""
    return torch.cat([masks[name].keep + begin for name, (begin, _) in tokens.spans.items()], dim=1)


def by_part(
    values: Mapping[str, float],
    modalities: Mapping[str, str],
    default: float,
    option: str,
    usual: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """A value for each part: by its name, else by its modality, else the default.

    Args:
        values: by part name or modality.
        modalities: by part name.
        default: for the other parts.
        option: name of the option, for messages.
        usual: default entries of ``values``, which may name modalities that the rows lack.

    Raises:
        ConfigError: a name is neither a part nor the modality of one.
    """
    for name, value in values.items():
        if name not in modalities and name not in modalities.values() and (usual or {}).get(name) != value:
            raise ConfigError(
                f"{option}.{name} names no part of these rows and no part's modality; the parts are "
                f"{', '.join(modalities)}. Name one of them, or leave the option out."
            )
    return {name: values.get(name, values.get(modality, default)) for name, modality in modalities.items()}


def build_joint_mae(config: JointMAEConfig, backbone: Backbone, info: Info) -> JointMAE:
    """Build M3AE around a fusion backbone."""
    return JointMAE(config, fused(backbone, "Joint masked autoencoding"), info)


JOINT_MAE = TaskFamilyRecipe(
    config=JointMAEConfig,
    build=build_joint_mae,
    optimization={"optimizer": "adamw", "base_lr": 1.5e-4, "betas": (0.9, 0.95), "weight_decay": 0.05, "warmup_fraction": 0.05},
)
"""Learning rate, weight decay and betas of the authors' code."""
