"""wav2vec 2.0: pick the quantized content of each masked token among that of other masked tokens of the sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from selfsup.backbones import Backbone, TokenBackbone
from selfsup.config import Config
from selfsup.objectives.base import Term
from selfsup.objectives.masked_contrast import masked_contrast, sample_negatives
from selfsup.objectives.parts.chance import chance_loss
from selfsup.objectives.parts.embeddings import Embeddings
from selfsup.objectives.parts.quantizer import ProductQuantizer, QuantizerConfig, code_perplexity, diversity_loss, usage
from selfsup.runtime.precision import full, no_autocast
from selfsup.tasks.base import StepOutput, TaskFamilyRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.joint_embedding.comparison import ComparesEmbeddings
from selfsup.tasks.masked.masked_modeling import mask_token, token_backbone
from selfsup.tasks.parts.random_masking import gather_tokens, mean_term, weighted_mean
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.types import Batch, Info


class Wav2Vec2Config(Config):
    """Options of wav2vec 2.0; the defaults are the paper's BASE."""

    start_share: float = Field(default=0.065, gt=0, lt=1)
    """Share of the tokens at which a hidden span begins; 0.065 in the paper."""
    span: int = Field(default=10, ge=1)
    """Tokens of a span; 10 in the paper (20 ms each)."""
    negatives: int = Field(default=100, ge=1)
    """Other hidden tokens of the same sample that the right one is told from; 100 in the paper."""
    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines; 0.1 in the paper."""
    projection_dim: int = Field(default=256, ge=1)
    """Width in which predictions and targets are compared; 256 in the paper's BASE."""
    diversity: float = Field(default=0.1, ge=0)
    """Weight of the loss that wants all codebook entries used; 0.1 in the paper."""
    feature_gradient: float = Field(default=0.1, gt=0, le=1)
    """Factor on the gradient that reaches what embeds the tokens (the convolutions of a waveform network); 0.1 in the paper."""
    quantizer: QuantizerConfig = QuantizerConfig()
    """The codebooks."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.quantizer.dim % self.quantizer.groups:
            raise ValueError(f"quantizer.dim={self.quantizer.dim} is no multiple of quantizer.groups={self.quantizer.groups}")
        return self


@dataclass(frozen=True)
class HiddenEmbeddings(Embeddings):
    """What wav2vec 2.0 takes means of: its n hidden tokens a sample, and their codes in G codebooks of V entries."""

    trained: ClassVar[tuple[str, ...]] = ("losses", "logits")
    losses: Tensor
    """[B, n], of the contrast."""
    logits: Tensor
    """[B, n, G, V], of the codes."""
    hit: Tensor
    """[B, n] bool, where the right content was nearest."""
    weight: Tensor
    """[B, n], 0 where a sample has fewer hidden tokens."""


class Wav2Vec2(ComparesEmbeddings[HiddenEmbeddings]):
    """wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477), for any tokens.

    Spans of the content are replaced by a learned vector; the network's output at a hidden token, projected, is to be nearer to
    that token's quantized content than to that of other hidden tokens of the same sample. The diversity loss sees the usage of
    the codebooks over the batch of all devices, where the authors' code has each device see its own. Their penalty on the size
    of the features is left out: the quantizer normalises its input.
    """

    backbone: TokenBackbone

    def __init__(self, config: Wav2Vec2Config, backbone: TokenBackbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.couples_samples = config.diversity > 0
        self.mask_token = mask_token(backbone.embed_dim)
        self.quantizer = ProductQuantizer(backbone.embed_dim, config.quantizer)
        self.predict = nn.Linear(backbone.embed_dim, config.projection_dim)
        self.project = nn.Linear(config.quantizer.dim, config.projection_dim)

    def embed(self, batch: Batch, generator: torch.Generator | None, *, replay: bool = False) -> HiddenEmbeddings:
        """Mask, encode, quantize what was hidden, contrast it with the sample's other hidden tokens."""
        config = self.config
        tokens = self.backbone.tokenize(batch)
        content = scaled_gradient(tokens.embeddings, config.feature_gradient)
        tokens = replace(tokens, embeddings=content)
        mask = span_mask(
            content.shape[0], tokens.grid, config.start_share, config.span,
            padding=tokens.padding, generator=generator, device=content.device,
        )  # fmt: skip
        weight = cast(Tensor, mask.weight)  # a span mask always has weights
        encoded = gather_tokens(self.backbone.encode(tokens.masked(mask.mask, self.mask_token)), mask.hidden)
        quantized = self.quantizer(gather_tokens(content, mask.hidden), generator)
        negatives = sample_negatives(weight, config.negatives, generator)
        with no_autocast(content):
            prediction, target = self.predict(full(encoded)), self.project(quantized.vectors)
            contrast = masked_contrast(prediction, target, quantized.codes, negatives, config.temperature)
        return HiddenEmbeddings(contrast.loss, quantized.logits, contrast.hit, weight)

    def compare(self, embeddings: HiddenEmbeddings) -> StepOutput:
        """The mean of the contrast, and the usage of the codebooks over the batch."""
        config, weight, logits = self.config, embeddings.weight, embeddings.logits
        contrastive = mean_term(embeddings.losses, weight)
        with no_autocast(logits):
            diversity = diversity_loss(usage(logits.softmax(dim=-1), weight))
        metrics = {
            "contrastive_loss": contrastive.loss.detach(),
            "chance_loss": chance_loss(1 + config.negatives, embeddings.losses),
            "diversity_loss": diversity.detach(),
            "accuracy": weighted_mean(embeddings.hit.float(), weight),
            "codebook_perplexity": code_perplexity(logits.detach().argmax(dim=-1), config.quantizer.entries, weight),
        }
        return StepOutput.of(contrastive, Term(config.diversity * diversity), metrics=metrics)

    def after_step(self, progress: float) -> None:
        """Lower the quantizer's temperature."""
        self.quantizer.after_step(progress)


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """``x``, whose gradient is multiplied by ``factor`` on its way back."""
    return x if factor == 1 else x.detach() + (x - x.detach()) * factor


def build_wav2vec2(config: Wav2Vec2Config, backbone: Backbone, info: Info) -> Wav2Vec2:
    """Build wav2vec 2.0 around a token backbone."""
    return Wav2Vec2(config, token_backbone(backbone, "wav2vec 2.0"))


WAV2VEC2_FAMILY = TaskFamilyRecipe(
    config=Wav2Vec2Config,
    build=build_wav2vec2,
    optimization={
        "optimizer": "adamw", "lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01, "warmup_fraction": 0.08,
    },
)  # fmt: skip
"""The paper's BASE (5e-4 at batches of 1.6 hours, 32k of 400k updates of warm-up), with a cosine where it has a line."""

wav2vec2_recipe = partial(recipe_from_family, WAV2VEC2_FAMILY)
"""A wav2vec 2.0 task for any token backbone: see :func:`~selfsup.tasks.family.recipe_from_family`."""
