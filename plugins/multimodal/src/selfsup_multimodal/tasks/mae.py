"""Masked autoencoding of several parts at once: M3AE."""

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
from selfsup_multimodal.backbones.fusion import FusedTokens, Fusion, fused
from selfsup_multimodal.joined_info import joined_parts


class JointMAEConfig(Config):
    """Options of masked autoencoding of several parts."""

    usual_weights: ClassVar[Mapping[str, float]] = {"text": 0.1}
    """What ``weights`` holds beside what is given."""
    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of each part's tokens that is hidden from the encoder; 0.75 of pictures and texts alike in the paper."""
    mask_ratios: dict[str, float] = Field(default_factory=dict)
    """By a part's name or its modality: another share of its tokens (``mask_ratios.text=0.5``)."""
    weights: dict[str, float] = Field(default_factory=lambda: {"text": 0.1})
    """By a part's name or its modality: weight of its loss; else 0.1 for texts, as in the authors' code, and 1 for others."""
    decoder_dim: int | None = Field(default=None, ge=4)
    """Width of the decoder; None: half the backbone's; 512 in the paper, where the backbone has 768 and more."""
    decoder_depth: int = Field(default=4, ge=0)
    """Blocks of the decoder; 8 in the paper."""
    decoder_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the decoder; None: one per 32 channels, which is the paper's 16 for 512."""
    normalize_targets: bool = True
    """Give each continuous target zero mean and unit variance over its own numbers, as MAE's better variant does."""

    @field_validator("weights")
    @classmethod
    def _with_the_usual(cls, value: dict[str, float]) -> dict[str, float]:
        return {**cls.usual_weights, **value}


class HiddenLoss(NamedTuple):
    """The loss of the hidden tokens of a part."""

    loss: Tensor
    """[B, M]."""
    weight: Tensor | None
    """[B, M], 0 where a row has fewer hidden tokens, or a token has no target; None: all count."""


class JointMAE(PretextTask):
    """Multimodal masked autoencoder (M3AE: Geng et al. 2022, arXiv:2205.14204), for any parts.

    Of each part a share of the tokens is hidden, so that every sample keeps tokens of each part that it has. The backbone
    encodes what is kept of all parts together; a narrow transformer gets it back in its places, with a learned token in all
    others, and gives back what was hidden: patches by squared error, ids by cross-entropy, each part by its own head. The loss
    is the weighted sum of the parts' means over their hidden tokens. Parts that a row lacks are neither seen nor predicted.

    Raises:
        ConfigError: options are of no part.
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
        """Mask each part, encode what is left, decode, compare."""
        tokens = self.backbone.tokenize(batch)
        masks = self.draw_masks(tokens, generator)
        keep = kept_of(tokens, masks)
        return self.mean_losses(self.reconstruct(batch, tokens, masks, keep, self.backbone.encode(tokens, keep=keep)))

    def draw_masks(self, tokens: FusedTokens, generator: torch.Generator | None) -> dict[str, TokenMask]:
        """Which tokens of each part are hidden; indices are places within the part.

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
        """The loss of each hidden token, by the name of its part.

        Args:
            batch: what the targets are read from.
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
        """The weighted sum of the parts' means, a term a part."""
        means = {name: mean_term(*own) for name, own in losses.items()}
        metrics = {f"{name}_loss": term.loss.detach() for name, term in means.items()}
        return StepOutput.of(*(term.scaled(self.weights[name]) for name, term in means.items()), metrics=metrics)

    def _positions(self, tokens: FusedTokens, dim: int) -> Tensor:
        """[N, dim], the place of each token on its part's lattice, and which part that is."""
        own = [
            lattice_positions(grid, dim, tokens.embeddings.device) + self.part_embedding[name]
            for name, grid in tokens.grids.items()
        ]
        return torch.cat(own)


def kept_of(tokens: FusedTokens, masks: Mapping[str, TokenMask]) -> Tensor:
    """[B, K] long, the tokens that masks of each part leave, one part behind the other."""
    return torch.cat([masks[name].keep + begin for name, (begin, _) in tokens.spans.items()], dim=1)


def by_part(
    values: Mapping[str, float],
    modalities: Mapping[str, str],
    default: float,
    option: str,
    usual: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """A number for each part: by its name, else by its modality, else the default.

    Args:
        values: by names of parts or modalities.
        modalities: name of each part to its modality.
        default: where neither is named.
        option: how the option is called.
        usual: values that stand there by themselves, whether or not rows have such a part.

    Raises:
        ConfigError: a name is neither that of a part nor of a part's modality.
    """
    for name, value in values.items():
        if name not in modalities and name not in modalities.values() and (usual or {}).get(name) != value:
            raise ConfigError(
                f"{option}.{name} is of no part of these rows and of no part's modality; the parts are "
                f"{', '.join(modalities)}. Name one of them, or leave that out."
            )
    return {name: values.get(name, values.get(modality, default)) for name, modality in modalities.items()}


def build_joint_mae(config: JointMAEConfig, backbone: Backbone, info: Info) -> JointMAE:
    """Build it around the fused tokens of all parts."""
    return JointMAE(config, fused(backbone, "Joint masked autoencoding"), info)


JOINT_MAE = TaskFamilyRecipe(
    config=JointMAEConfig,
    build=build_joint_mae,
    optimization={"optimizer": "adamw", "base_lr": 1.5e-4, "betas": (0.9, 0.95), "weight_decay": 0.05, "warmup_fraction": 0.05},
)
"""M3AE with the rate, decay and betas of the authors' code."""
