"""The losses of MoCo v2 (a queue of negatives) and v3 (negatives from the batch)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.objectives.base import JointEmbeddingObjective, LossOutput, ObjectiveRecipe, ViewEmbeddings
from selfsup.objectives.parts.chance import chance_loss
from selfsup.objectives.parts.heads import mlp
from selfsup.objectives.parts.queue import EmbeddingQueue, fitting_size, queue_note
from selfsup.objectives.parts.valid_rows import (
    contrast,
    contrast_chance,
    counted,
    in_both_views,
    mean_cosine,
    not_compared,
    only_valid,
    own_columns,
)
from selfsup.runtime.distributed import gather, world_size


def queue_contrast(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    temperature: float,
    filled: Tensor | None = None,
    valid: Tensor | None = None,
    left_out: Tensor | None = None,
) -> Tensor:
    """InfoNCE against a queue of negatives (He et al. 2019, arXiv:1911.05722, equation 1).

    Args:
        query: [B, P]; scaled to unit length here, as the key is.
        key: [B, P], the positives, without gradient.
        queue: [Q, P], negatives of unit length.
        temperature: divides the cosines.
        filled: [Q], 0 where a place of the queue holds nothing yet and is no negative; None: all hold something. While none
            does, the keys of the batch's other samples are the negatives: a first step without any would teach nothing.
        valid: [B] bool, the samples that count; None: all.
        left_out: [B, N] bool, samples of the global batch that are no negatives, from
            :func:`~selfsup.objectives.parts.valid_rows.not_compared`; None: all others are.

    Returns:
        Scalar.
    """
    query, key = F.normalize(only_valid(query, valid), dim=1), F.normalize(only_valid(key, valid), dim=1)
    positive, negative = (query * key).sum(dim=1, keepdim=True), query @ queue.to(query.dtype).T
    if filled is not None:
        keys = gather(key)
        own = own_columns(len(query), query.device)
        itself = own[:, None] == torch.arange(len(keys), device=query.device)
        none = itself | filled.any()
        stand_ins = (query @ keys.T).masked_fill(none if left_out is None else none | left_out, float("-inf"))
        negative = torch.cat([negative.masked_fill(filled == 0, float("-inf")), stand_ins], dim=1)
    logits = torch.cat([positive, negative], dim=1) / temperature
    return contrast(logits, torch.zeros(len(query), dtype=torch.long, device=query.device), None, valid)


def batch_contrast(
    query: Tensor, key: Tensor, temperature: float, valid: Tensor | None = None, left_out: Tensor | None = None
) -> Tensor:
    """InfoNCE against the keys of the global batch, times 2 * temperature (Chen et al. 2021, arXiv:2104.02057, algorithm 1).

    Args:
        query: [B, P]; scaled to unit length here, as the key is.
        key: [B, P], without gradient.
        temperature: divides the cosines.
        valid: [B] bool, the samples that count; None: all.
        left_out: [B, N] bool, samples of the global batch that are no negatives, from
            :func:`~selfsup.objectives.parts.valid_rows.not_compared`; None: all others are.

    Returns:
        Scalar.
    """
    query, keys = F.normalize(only_valid(query, valid), dim=1), gather(F.normalize(only_valid(key, valid), dim=1))
    positive = own_columns(len(query), query.device)
    return 2 * temperature * contrast(query @ keys.T / temperature, positive, left_out, valid)


class MoCoV2Config(Config):
    """MoCo v2 (Chen et al. 2020, arXiv:2003.04297)."""

    temperature: float = Field(default=0.2, gt=0)
    """Divides the cosines (paper: 0.2)."""
    queue_size: int = Field(default=65536, ge=1)
    """Number of negatives (paper: 65536); a run takes no more than its rows less a batch."""
    batch_norm_splits: int = Field(default=8, ge=1)
    """Groups of a batch that batch norm looks at apart, with shuffled keys (paper: 8, one a GPU); 1: the whole batch."""
    symmetric: bool = False
    """Let both views be query and key, at twice the cost (paper: no)."""
    hidden_dim: int = Field(default=2048, ge=1)
    """Width of the projector's hidden layer (paper: 2048)."""
    output_dim: int = Field(default=128, ge=1)
    """Width of the projection (paper: 128)."""


class MoCoV2(JointEmbeddingObjective):
    """InfoNCE between a query and its key from the momentum network, with a queue of former keys as negatives.

    Places of the queue that hold nothing yet are no negatives; while it fills, the loss rises with their number, as
    ``chance_loss`` does. Where the backbone has batch norm, the paper's shuffling BN
    (He et al. 2019, arXiv:1911.05722, section 3.3) keeps a query from finding its key by their statistics: these are taken
    over groups of the batch, and the keys' batch is shuffled, on one device as on several.
    """

    Config = MoCoV2Config
    handles_absent = True
    target = "momentum"
    config: MoCoV2Config

    def __init__(self, config: MoCoV2Config) -> None:
        super().__init__(config)
        self.one_way = not config.symmetric
        self.batch_norm_splits = config.batch_norm_splits
        self.queue = EmbeddingQueue(config.queue_size, config.output_dim)

    def fit_to_data(self, rows: int, batch_size: int) -> str:
        """Make the queue no longer than the data allow."""
        # Both views of a sample enter the queue where both are keys.
        views = 2 if self.config.symmetric else 1
        size = fitting_size(self.config.queue_size, views * rows, views * batch_size)
        if size == self.queue.size:
            return ""
        self.queue = EmbeddingQueue(size, self.config.output_dim)
        return queue_note(self.config.queue_size, size, rows)

    def build_projector(self, embed_dim: int) -> nn.Module:
        """Two layers without batch norm."""
        return mlp([embed_dim, self.config.hidden_dim, self.config.output_dim], norm=False)

    def forward(self, embeddings: ViewEmbeddings) -> LossOutput:
        """The loss of one batch; its keys then enter the queue."""
        # Copies, for the queue changes before the backward pass reads them.
        negatives, filled = self.queue.embeddings.clone(), self.queue.filled.clone()
        valid = in_both_views(embeddings)
        left_out = not_compared(valid, embeddings.groups)
        pairs = list(zip(embeddings.online, reversed(embeddings.target), strict=True))
        losses = [
            queue_contrast(query, key, negatives, self.config.temperature, filled, valid, left_out) for query, key in pairs
        ]
        if self.training:
            for _, key in pairs:
                self.queue.push(F.normalize(key, dim=1), valid)
        similarity = mean_cosine(*pairs[0], valid)
        loss = torch.stack(losses).mean()
        held = filled.sum()
        at_first = contrast_chance(len(pairs[0][1]) * world_size(), left_out, valid, loss)
        chance = torch.where(held > 0, chance_loss(1 + held, loss), at_first)
        return LossOutput(loss, {"positive_similarity": similarity, "chance_loss": chance}, counted(valid, loss))


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
    freeze_patch_projection: bool = True
    """Whether a transformer's patch projection stays as it is drawn (paper: yes, section 4.1); other networks have none."""


class MoCoV3(JointEmbeddingObjective):
    """InfoNCE between predictions and the momentum network's projections of the other view, both ways.

    The patch projection of a transformer is not trained, which keeps the training stable (Chen et al. 2021, arXiv:2104.02057,
    section 4.1), and its positions are fixed sines and cosines where the backbone has the option ``positions`` (section 4.2).
    Convolutional networks are trained as a whole.
    """

    Config = MoCoV3Config
    handles_absent = True
    target = "momentum"
    config: MoCoV3Config

    def __init__(self, config: MoCoV3Config) -> None:
        super().__init__(config)
        self.freezes_input = config.freeze_patch_projection

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
        valid = in_both_views(embeddings)
        left_out = not_compared(valid, embeddings.groups)
        temperature = self.config.temperature
        loss = batch_contrast(a, key_b, temperature, valid, left_out) + batch_contrast(b, key_a, temperature, valid, left_out)
        # Both directions, each times 2 * temperature as in batch_contrast.
        chance = 4 * temperature * contrast_chance(len(a) * world_size(), left_out, valid, loss)
        metrics = {"positive_similarity": mean_cosine(a, key_b, valid), "chance_loss": chance}
        return LossOutput(loss, metrics, counted(valid, loss))


MOCOV2 = ObjectiveRecipe(
    config=MoCoV2Config,
    build=MoCoV2,
    optimization={"optimizer": "sgd", "base_lr": 0.03, "weight_decay": 1e-4, "warmup_epochs": 0},
    momentum=(0.999, 0.999),
)
"""MoCo v2 with its paper's settings: 200 epochs of ImageNet at a batch of 256, 1,000,912 updates."""
MOCOV3 = ObjectiveRecipe(
    config=MoCoV3Config,
    build=MoCoV3,
    optimization={"optimizer": "adamw", "base_lr": 1.5e-4, "weight_decay": 0.1, "warmup_epochs": 40},
    backbone={"positions": "sin-cos"},
    momentum=(0.99, 1.0),
)
"""MoCo v3 with its paper's settings for vision transformers: 300 epochs of ImageNet at a batch of 4096, 93,836 updates."""
