"""TSDAE: delete most tokens of a sentence, and reconstruct the whole sentence from the embedding of the rest."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.tasks import PretextTask, StepOutput, TaskRecipe, mean_term
from selfsup.types import Batch, Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.tasks.parts.decoder import TextDecoder
from selfsup_text.tasks.parts.special_tokens import SpecialTokens, text_backbone
from selfsup_text.tasks.parts.token_masks import draw_counts, most_hidden


class TSDAEConfig(Config):
    """Options of TSDAE."""

    deletion: float = Field(default=0.6, ge=0, lt=1)
    """Share of the tokens deleted from the encoder's input; 0.6 in the paper."""
    decoder_depth: int = Field(default=1, ge=1)
    """Blocks of the decoder, which is not kept; the paper's decoder shares the encoder's layers."""
    decoder_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the decoder; None: one per 32 channels."""


class TSDAE(PretextTask):
    """Transformer-based sequential denoising autoencoder (Wang et al. 2021, arXiv 2104.06979).

    The decoder sees only the pooled embedding and the earlier tokens. It shares the encoder's word embeddings for input and
    output; the paper ties all layers, which needs a network that works as encoder and decoder.

    Unlike in span corruption the decoder's words are not normalised: they are initially small next to the positions, so that
    the decoder must rely on the embedding.
    """

    backbone: TextBackbone

    def __init__(self, config: TSDAEConfig, backbone: Backbone, info: Info) -> None:
        super().__init__()
        self.deletion = config.deletion
        self.backbone = backbone = text_backbone(backbone, "TSDAE")
        self.vocabulary = SpecialTokens(info)
        dim = backbone.word_embeddings.embedding_dim
        self.decoder = TextDecoder(dim, backbone.pooled_dim, config.decoder_depth, config.decoder_heads)
        self.head = backbone.target_head(dim)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Delete tokens, embed the rest, reconstruct the sentence."""
        index, valid = delete(~batch["padding"], self.deletion, generator)
        memory = self.backbone(self.vocabulary.take(batch, index, valid)).pooled.unsqueeze(1)
        ids = batch["ids"]
        start = torch.full_like(ids[:, :1], self.vocabulary.start_id)
        given = self.backbone.word_embeddings(torch.cat([start, ids[:, :-1]], dim=1))
        decoded = self.decoder(given, memory)
        index = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        loss = self.backbone.predicted_loss(self.head, decoded, ids, index)
        return StepOutput.of(mean_term(loss, (~batch["padding"]).to(loss.dtype)))


def delete(real: Tensor, share: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Delete a random ``share`` of the tokens, but keep at least one.

    Unlike in the paper's code, which decides for each token independently, all sentences of a length keep the same number, up
    to rounding, so that the result is shorter.

    Args:
        real: [B, N] bool, the tokens that are not padding.
        share: in 0..1.
        generator: for the random draws.

    Returns:
        index: [B, K] long, the kept tokens in order.
        valid: [B, K] bool, False in unused slots, which come last.
    """
    N = real.shape[1]
    K = max(most_hidden(N, 1 - share), 1)
    score = torch.rand(real.shape, generator=generator, device=real.device).masked_fill(~real, math.inf)
    counts = draw_counts(real.sum(dim=1, keepdim=True), 1 - share, generator).clamp(min=1)
    valid = torch.arange(K, device=real.device).unsqueeze(0) < counts
    index = score.argsort(dim=1)[:, :K].masked_fill(~valid, N).sort(dim=1).values
    return index.clamp(max=N - 1), valid


RECIPE = TaskRecipe(
    config=TSDAEConfig,
    build=TSDAE,
    optimization={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.05, "clip": 1.0},
)
"""No weight decay, as in the paper; its learning rate of 3e-5 at a batch of 8 is for a pretrained BERT."""
