"""Corruption of texts: remove most words, and predict the bag of all words from the embedding of the rest."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, Encoded
from selfsup.config import Config
from selfsup.tasks import Corrupted, Corruption, CorruptionRecipe, Term, mean_term
from selfsup.types import Batch, Info
from selfsup_text.augmentations.tokens import compact, thin_out
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.backbones.heads import VocabularyHead
from selfsup_text.tasks.parts.special_tokens import mask_id_of


class TextCorruptionConfig(Config):
    """Options of :class:`TextCorruption`."""

    kind: Literal["deletion", "mask"] = "deletion"
    """Delete or mask tokens; deletion is best in TSDAE (Wang et al. 2021, arXiv:2104.06979)."""
    rate: float = Field(0.6, gt=0, lt=1)
    """Share of the tokens to remove; 0.6 in TSDAE. At least one token of each text stays."""


class TextCorruption(Corruption):
    """Deletes or masks tokens; the target is the bag of words of the whole text, by cross-entropy from the pooled embedding.

    Unlike TSDAE it does not predict the order of words, so that it works with any pooled embedding and needs one pass of the
    vocabulary per text. Special tokens are not words.
    """

    counted: Tensor

    def __init__(self, config: TextCorruptionConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.pad_id = int(info["pad_id"])
        self.mask_id = mask_id_of(info, "Masking words") if config.kind == "mask" else -1
        counted = torch.ones(int(info["vocab_size"]))
        counted[[id for id in info["special_ids"] if id != info["unk_id"]]] = 0
        self.register_buffer("counted", counted, persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """Corrupt the texts; the target [B, V] is each word's share of its text."""
        ids, padding = batch["ids"], batch["padding"]
        stays = thin_out(~padding, self.config.rate, generator)
        if self.config.kind == "deletion":
            corrupted = compact(batch, stays, ids.shape[1], self.pad_id)
        else:
            corrupted = {**batch, "ids": torch.where(stays | padding, ids, self.mask_id)}
        return Corrupted(corrupted, bag_of_words(ids, padding, self.counted))

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """A decoder from the pooled embedding to one logit per word."""
        return BagDecoder(backbone, self.counted.shape[0])

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Cross-entropy with the words of the text, in float32; the mean over texts that have words."""
        target = corrupted.target
        entropy = -(target * F.log_softmax(prediction.float()[:, : target.shape[1]], dim=1)).sum(dim=1)
        return mean_term(entropy, (target.sum(dim=1) > 0).to(entropy.dtype))


class BagDecoder(nn.Module):
    """BERT's vocabulary head, or a linear layer, on the pooled embedding."""

    def __init__(self, backbone: Backbone, vocab_size: int) -> None:
        super().__init__()
        dim = backbone.pooled_dim
        self.head: nn.Module = nn.Linear(dim, vocab_size)
        if isinstance(backbone, TextBackbone):
            self.head = VocabularyHead(dim, backbone.word_embeddings)

    def forward(self, encoded: Encoded) -> Tensor:
        """[B, V]."""
        logits: Tensor = self.head(encoded.pooled)
        return logits


def bag_of_words(ids: Tensor, padding: Tensor, counted: Tensor) -> Tensor:
    """[B, V] float, each word's share of the words of its text; zeros for a text without words.

    Args:
        ids: [B, N] long.
        padding: [B, N] bool.
        counted: [V] float, 0 for ids that are not words, else 1.
    """
    weight = counted[ids].masked_fill(padding, 0)
    counts = torch.zeros(ids.shape[0], counted.shape[0], device=ids.device).scatter_add(1, ids, weight)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)


RECIPE = CorruptionRecipe(config=TextCorruptionConfig, build=TextCorruption)
