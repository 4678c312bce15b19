"""Cluster prediction (HuBERT): predict the k-means cluster of each masked token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, TokenBackbone, Tokens
from selfsup.config import Config, idle
from selfsup.objectives.parts.chance import chance_loss
from selfsup.objectives.parts.heads import CosineLinear
from selfsup.objectives.parts.kmeans import StreamingKMeans
from selfsup.objectives.parts.quantizer import code_perplexity
from selfsup.runtime.precision import full, no_autocast
from selfsup.tasks.base import PretextTask, StepOutput, TaskFamilyRecipe, TaskRecipe
from selfsup.tasks.family import recipe_from_family
from selfsup.tasks.masked.masked_modeling import mask_token, token_backbone
from selfsup.tasks.parts.moving_average import MomentumEncoder
from selfsup.tasks.parts.random_masking import gather_tokens, mean_term, weighted_mean
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.types import Batch, Info


class ClusterPredictionConfig(Config):
    """Options of cluster prediction; the defaults are HuBERT's BASE."""

    n_clusters: int = Field(default=100, ge=2)
    """Clusters of the first features; 100 in the paper."""
    n_latent_clusters: int = Field(default=500, ge=2)
    """Clusters of the network's own outputs; 500 in the paper."""
    recluster: tuple[float, ...] = (0.4,)
    """Parts of the run, rising, after which the outputs of the network of then are clustered; paper: 250k of 650k updates."""
    layer: int | None = Field(default=None, ge=1)
    """Layer whose output is clustered; None: the one in the middle, which is the paper's 6 of 12."""
    fit: float = Field(default=0.05, gt=0, le=1)
    """Part of the run, from its start and from each re-clustering on, in which k-means learns; then clusters are fixed."""
    start_share: float = Field(default=0.08, gt=0, lt=1)
    """Share of the tokens at which a hidden span begins; 0.08 in the paper."""
    span: int = Field(default=10, ge=1)
    """Tokens of a span; 10 in the paper (20 ms each)."""
    masked_weight: float = Field(default=1.0, gt=0, le=1)
    """Weight of the hidden tokens' loss; the rest is that of the tokens that are seen. 1 in the paper: hidden ones alone."""
    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosines to the clusters' vectors; 0.1 in the paper."""
    projection_dim: int = Field(default=256, ge=1)
    """Width in which outputs and clusters are compared; 256 in the paper."""

    @field_validator("recluster")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < part < 1 for part in value) or list(value) != sorted(set(value)):
            raise ValueError(f"recluster={value} must rise between 0 and 1")
        return value

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("recluster is empty", not self.recluster, "layer", "n_latent_clusters")


class ClusterFeatures(nn.Module, ABC):
    """What is clustered first, where a modality knows better than the untrained network (MFCC for speech)."""

    dim: int
    """Width of a token's features."""

    @abstractmethod
    def forward(self, batch: Batch, grid: tuple[int, ...]) -> Tensor:
        """[B, N, dim] float, the features of the tokens on ``grid``."""


class Snapshot(MomentumEncoder[TokenBackbone]):
    """The backbone as it was when it was last taken over, in evaluation mode and without gradient."""

    def __init__(self, backbone: TokenBackbone) -> None:
        super().__init__(backbone, 0.0, 0.0)
        self.module.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)


class ClusterPrediction(PretextTask):
    """HuBERT (Hsu et al. 2021, arXiv 2106.07447), for any tokens.

    Spans of tokens are replaced by a learned vector; at the hidden tokens, cosines to a learned vector of each cluster are
    to name the cluster of what was there (equation 3). The paper runs k-means over the whole data before it trains, and trains
    a second network on clusters of the first one's outputs. Here it is one run: k-means learns from the batches while training
    begins and then stays (``fit``); at each ``recluster`` a copy of the network is kept, and from there on the outputs of the
    copy's middle layer are clustered likewise. Network and heads go on as they are. What is clustered first are the given
    features, or else the tokens' content as the untrained network embeds it, a random projection of the input as in BEST-RQ
    (Chiu et al. 2022, arXiv 2202.01855).

    Args:
        config: the options.
        backbone: the network to train.
        features: what is clustered first; None: the content of the tokens.
    """

    backbone: TokenBackbone
    stage: Tensor

    def __init__(self, config: ClusterPredictionConfig, backbone: TokenBackbone, features: ClusterFeatures | None) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.features = features
        self.snapshot = Snapshot(backbone) if features is None or config.recluster else None
        self.first = StreamingKMeans(config.n_clusters, backbone.embed_dim if features is None else features.dim)
        self.latent = StreamingKMeans(config.n_latent_clusters, backbone.embed_dim) if config.recluster else None
        self.mask_token = mask_token(backbone.embed_dim)
        self.project = nn.Linear(backbone.embed_dim, config.projection_dim)
        self.clusters = CosineLinear(
            config.projection_dim, max(config.n_clusters, config.n_latent_clusters if config.recluster else 0)
        )
        self.register_buffer("stage", torch.zeros((), dtype=torch.long))
        self._stage = 0

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Mask, encode, name clusters."""
        config = self.config
        tokens = self.backbone.tokenize(batch)
        labels, k = self._labels(batch, tokens, generator)
        mask = span_mask(
            labels.shape[0], tokens.grid, config.start_share, config.span,
            padding=tokens.padding, generator=generator, device=labels.device,
        )  # fmt: skip
        encoded = self.backbone.encode(tokens.masked(mask.mask, self.mask_token))
        loss, hit = self._named(gather_tokens(encoded, mask.hidden), gather_tokens(labels, mask.hidden), k)
        terms = [mean_term(loss, mask.weight).scaled(config.masked_weight)]
        if config.masked_weight < 1:
            seen = ~mask.mask if tokens.padding is None else ~mask.mask & ~tokens.padding
            terms.append(mean_term(self._named(encoded, labels, k)[0], seen.to(loss.dtype)).scaled(1 - config.masked_weight))
        real = None if tokens.padding is None else (~tokens.padding).float()
        metrics = {
            "accuracy": weighted_mean(hit.float(), mask.weight),
            "chance_loss": chance_loss(k, labels),
            "codebook_perplexity": code_perplexity(labels.unsqueeze(-1), k, real),
        }
        return StepOutput.of(*terms, metrics=metrics)

    def _named(self, encoded: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Loss and correctness of each token of [B, K, D] with clusters [B, K]."""
        with no_autocast(encoded):
            cosine = self.clusters(self.project(full(encoded)))[..., :k]
            logits = (cosine / self.config.temperature).flatten(0, 1)
            loss = F.cross_entropy(logits, labels.flatten(), reduction="none").view(labels.shape)
            return loss, logits.detach().argmax(dim=1).view(labels.shape) == labels

    @torch.no_grad()
    def _labels(self, batch: Batch, tokens: Tokens, generator: torch.Generator | None) -> tuple[Tensor, int]:
        """[B, N] long, the cluster of each token, and how many clusters there are; k-means learns of them after the step."""
        features = self._clustered(batch, tokens.grid)
        kmeans = self._kmeans()
        labels = kmeans.assign(features)
        if self.training:
            kmeans.collect(features, labels, None if tokens.padding is None else ~tokens.padding, generator)
        return labels, kmeans.k

    def _clustered(self, batch: Batch, grid: tuple[int, ...]) -> Tensor:
        """[B, N, P], what is clustered at this stage."""
        if self.snapshot is None or (self._stage == 0 and self.features is not None):
            features: Tensor = self.features(batch, grid)  # type: ignore[misc]  # without a snapshot there are features
            return features
        network = self.snapshot.module
        tokens = network.tokenize(batch)
        if self._stage == 0:
            return tokens.embeddings
        layers = network.layer_outputs(tokens)
        return layers[min(self.config.layer or (len(layers) + 1) // 2, len(layers)) - 1]

    def _kmeans(self) -> StreamingKMeans:
        """The clusters of this stage."""
        return self.first if self._stage == 0 or self.latent is None else self.latent

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move clusters, keep a copy of the network where its outputs are to be clustered, and fix clusters that are done."""
        self._kmeans().learn()
        due = sum(progress >= part for part in self.config.recluster)
        if due > self._stage and self.snapshot is not None and self.latent is not None:
            self.snapshot.update(self.backbone, progress)
            self.latent.reset()
            self._stage = due
            self.stage.fill_(due)
        began = self.config.recluster[self._stage - 1] if self._stage else 0.0
        self._kmeans().fitting.fill_(float(progress - began < self.config.fit))

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        # Which stage it is decides what is computed, hence is known on the host, too.
        self._stage = int(self.stage)


def build_cluster_prediction(
    config: ClusterPredictionConfig, backbone: Backbone, info: Info, features: ClusterFeatures | None = None
) -> ClusterPrediction:
    """Build cluster prediction around a token backbone."""
    return ClusterPrediction(config, token_backbone(backbone, "Cluster prediction"), features)


CLUSTER_PREDICTION_FAMILY = TaskFamilyRecipe(
    config=ClusterPredictionConfig,
    build=build_cluster_prediction,
    optimization={
        "optimizer": "adamw", "lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01, "warmup_fraction": 0.08,
    },
)  # fmt: skip
"""HuBERT's BASE (5e-4, 32k of 400k updates of warm-up), with a cosine where it has a line."""


def cluster_prediction_recipe(
    *,
    features: Callable[[Info], ClusterFeatures] | None = None,
    optimization: dict[str, Any] | None = None,
    **defaults: Any,
) -> TaskRecipe:
    """A cluster-prediction task for any token backbone.

    Args:
        features: makes what is clustered first from the processor's info; None: the content of the tokens.
        optimization: changes to the paper's optimizer settings.
        defaults: other defaults for fields of :class:`ClusterPredictionConfig`.

    Raises:
        ConfigError: a default is of no field, or breaks its limits.
    """

    def build(config: Any, backbone: Backbone, info: Info) -> ClusterPrediction:
        return build_cluster_prediction(config, backbone, info, None if features is None else features(info))

    return replace(recipe_from_family(CLUSTER_PREDICTION_FAMILY, optimization=optimization, **defaults), build=build)
