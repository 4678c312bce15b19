"""The losses of MoCo v2 (a queue of negatives) and v3 (negatives from the batch)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.chance import chance_loss
from selfsup.objectives.distributed import gather, rank, world_size
from selfsup.objectives.heads import mlp
from selfsup.objectives.queue import EmbeddingQueue


def queue_contrast(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE against a queue of negatives (He et al. 2019, arXiv:1911.05722, equation 1).

    Args:
        query: [B, P]; scaled to unit length here, as the key is.
        key: [B, P], the positives, without gradient.
        queue: [Q, P], negatives of unit length.
        temperature: divides the cosines.

    Returns:
        Scalar.
    """
    query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ queue.to(query.dtype).T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def batch_contrast(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """InfoNCE against the keys of the global batch, times 2 * temperature (Chen et al. 2021, arXiv:2104.02057, algorithm 1).

    Args:
        query: [B, P]; scaled to unit length here, as the key is.
        key: [B, P], without gradient.
        temperature: divides the cosines.

    Returns:
        Scalar.
    """
    query, keys = F.normalize(query, dim=1), gather(F.normalize(key, dim=1))
    positive = torch.arange(len(query), device=query.device) + rank() * len(query)
    return 2 * temperature * F.cross_entropy(query @ keys.T / temperature, positive)


class MoCoV2Config(Config):
    """MoCo v2 (Chen et al. 2020, arXiv:2003.04297)."""

    temperature: float = Field(default=0.2, gt=0)
    """Divides the cosines (paper: 0.2)."""
    queue_size: int = Field(default=65536, ge=1)
    """Number of negatives (paper: 65536); more than a few passes over a small data set are stale."""
    symmetric: bool = False
    """Let both views be query and key, at twice the cost (paper: no)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layer (paper: 2048)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projection (paper: 128)."""


class MoCoV2(JointEmbeddingObjective):
    """InfoNCE between a query and its key from the momentum network, with a queue of former keys as negatives.

    The keys' batch is not shuffled over the devices (the paper's shuffling BN): statistics are those of the global batch, or of
    one process.
    """

    Config = MoCoV2Config
    target = "momentum"

    def __init__(self, config: MoCoV2Config) -> None:
        super().__init__()
        self.config = config
        self.one_way = not config.symmetric
        self.queue = EmbeddingQueue(config.queue_size, config.output_dim)

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers without batch norm."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim], norm=False)

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch; its keys then enter the queue."""
        # A copy, for the queue changes before the backward pass reads it.
        negatives = self.queue.embeddings.clone()
        pairs = list(zip(embeddings.online, reversed(embeddings.target), strict=True))
        losses = [queue_contrast(query, key, negatives, self.config.temperature) for query, key in pairs]
        if self.training:
            for _, key in pairs:
                self.queue.push(F.normalize(key, dim=1))
        similarity = F.cosine_similarity(pairs[0][0].detach(), pairs[0][1]).mean()
        loss = torch.stack(losses).mean()
        metrics = {"positive_similarity": similarity, "chance_loss": chance_loss(1 + self.config.queue_size, loss)}
        return LossOutput(loss, metrics)


class MoCoV3Config(Config):
    """MoCo v3 (Chen et al. 2021, arXiv:2104.02057); the values of its vision transformers."""

    temperature: float = Field(default=0.2, gt=0)
    """Divides the cosines (paper: 0.2; its code has 1.0 for ResNet-50)."""
    projector_layers: int = Field(default=3, ge=2)
    """Layers of the projector (paper: 3; its code has 2 for ResNet-50)."""
    hidden_dim: int = Field(default=4096, ge=1)
    """Width of the hidden layers of projector and predictor (paper: 4096)."""
    output_dim: int = Field(default=256, ge=1)
    """Width of the projection (paper: 256)."""


class MoCoV3(JointEmbeddingObjective):
    """InfoNCE between predictions and the momentum network's projections of the other view, both ways."""

    Config = MoCoV3Config
    target = "momentum"

    def __init__(self, config: MoCoV3Config) -> None:
        super().__init__()
        self.config = config

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Layers with batch norm, the last without learned scale."""
        hidden = [self.config.hidden_dim] * (self.config.projector_layers - 1)
        return mlp([embed_dim, *hidden, self.config.output_dim], last_norm="plain")

    def build_predictor(self) -> nn.Module:
        """Two layers with batch norm, the last without learned scale."""
        return mlp([self.config.output_dim, self.config.hidden_dim, self.config.output_dim], last_norm="plain")

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch."""
        (a, b), (key_a, key_b) = embeddings.online, embeddings.target
        loss = batch_contrast(a, key_b, self.config.temperature) + batch_contrast(b, key_a, self.config.temperature)
        similarity = F.cosine_similarity(a.detach(), key_b).mean()
        # Both directions, each times 2 * temperature as in batch_contrast.
        chance = 4 * self.config.temperature * chance_loss(len(a) * world_size(), loss)
        return LossOutput(loss, {"positive_similarity": similarity, "chance_loss": chance})


MOCOV2 = ObjectiveRecipe(
    config=MoCoV2Config,
    build=MoCoV2,
    optimization={"optimizer": "sgd", "base_lr": 0.03, "weight_decay": 1e-4, "warmup_epochs": 0},
    momentum=(0.999, 0.999),
)
MOCOV3 = ObjectiveRecipe(
    config=MoCoV3Config,
    build=MoCoV3,
    optimization={"optimizer": "adamw", "base_lr": 1.5e-4, "weight_decay": 0.1, "warmup_epochs": 40},
    momentum=(0.99, 1.0),
)
