"""Span corruption: replace spans of a text by sentinels, and let a decoder predict the spans."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import PretextTask, StepOutput, TaskRecipe, mean_term
from selfsup.types import Batch, Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.config import DOCUMENTS
from selfsup_text.tasks.parts.decoder import TextDecoder
from selfsup_text.tasks.parts.spans import Answer, answer, draw_spans, most_spans, shorten
from selfsup_text.tasks.parts.special_tokens import SpecialTokens, mask_id_of, text_backbone


class SpanCorruptionConfig(Config):
    """Options of span corruption."""

    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens in spans; 0.15 in the paper."""
    mean_span: float = Field(default=3.0, ge=1)
    """Mean tokens per span; 3 in the paper."""
    decoder_depth: int = Field(default=2, ge=1)
    """Blocks of the decoder, which is not kept; as many as the encoder's in the paper."""
    decoder_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the decoder; None: one per 32 channels."""


class SpanCorruption(PretextTask):
    """T5's task (Raffel et al. 2019, arXiv 1910.10683, section 3.1.4) for any encoder.

    The encoder sees the shortened text with one sentinel per span. The decoder is as wide as the word embeddings that it
    shares; it differs from T5's in depth, positions and a layer norm of its words. Sentinels are not words of the vocabulary
    but vectors of the task, added to the mask token's. Every span ends with the separator's id.
    """

    backbone: TextBackbone

    def __init__(self, config: SpanCorruptionConfig, backbone: Backbone, info: Info) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone = text_backbone(backbone, "Span corruption", causal=False)
        self.vocabulary = SpecialTokens(info)
        self.mask_id = mask_id_of(info, "Span corruption")
        self.slots = most_spans(int(info["max_length"]), config.rate, config.mean_span)
        dim = backbone.word_embeddings.embedding_dim
        self.sentinels = nn.Embedding(self.slots, backbone.embed_dim)
        self.decoder_sentinels = nn.Embedding(self.slots, dim)
        for sentinels in (self.sentinels, self.decoder_sentinels):
            nn.init.normal_(sentinels.weight, std=float(backbone.word_embeddings.weight.detach().std()))
        # Normalised, because words with BERT's initial deviation of 0.02 would be negligible next to the positions.
        self.enter = nn.LayerNorm(dim)
        self.decoder = TextDecoder(dim, backbone.embed_dim, config.decoder_depth, config.decoder_heads)
        self.head = backbone.target_head(dim)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Cut spans out, encode the rest, predict the spans."""
        rate, mean_span = self.config.rate, self.config.mean_span
        if DOCUMENTS in batch:
            raise ConfigError(
                "processor.document_masks: the decoder of span corruption sees the spans of all documents in a block. "
                "Leave the option out."
            )
        real = ~batch["padding"]
        spans = draw_spans(real, rate, mean_span, generator)
        short = shorten(spans, real, rate, mean_span)
        rest = self.vocabulary.take(batch, short.source, short.valid)
        rest["ids"] = rest["ids"].masked_fill(short.stands, self.mask_id)
        tokens = self.backbone.tokenize(rest)
        marked = tokens.embeddings + self._marks(self.sentinels, short.stands, short.number)
        memory = self.backbone.encode(replace(tokens, embeddings=marked))
        wanted = answer(spans, batch["ids"], self.vocabulary.end_id, most_spans(real.shape[1], rate, mean_span))
        decoded = self.decoder(self.enter(self._given(wanted)), memory, rest["padding"])
        index = torch.arange(decoded.shape[1], device=decoded.device).expand(decoded.shape[:2])
        loss = self.backbone.predicted_loss(self.head, decoded, wanted.target, index)
        return StepOutput.of(mean_term(loss, wanted.valid.to(loss.dtype)))

    def _given(self, wanted: Answer) -> Tensor:
        """[B, L, dim], the decoder's input; a sentinel is the mask token's embedding plus the sentinel's vector."""
        ids = wanted.given.masked_fill(wanted.sentinel, self.mask_id)
        words: Tensor = self.backbone.word_embeddings(ids)
        return words + self._marks(self.decoder_sentinels, wanted.sentinel, wanted.number)

    def _marks(self, sentinels: nn.Embedding, where: Tensor, number: Tensor) -> Tensor:
        """[B, K, D], the vectors of sentinels at their positions, zero elsewhere."""
        vectors: Tensor = sentinels(number.clamp(max=self.slots - 1))
        return vectors * where.unsqueeze(-1)


RECIPE = TaskRecipe(
    config=SpanCorruptionConfig,
    build=SpanCorruption,
    optimization={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01, "warmup_fraction": 0.05, "clip": 1.0},
    processor={"packing": "blocks", "add_special": True},
)
"""AdamW instead of the paper's Adafactor (inverse square root schedule from 0.01)."""
