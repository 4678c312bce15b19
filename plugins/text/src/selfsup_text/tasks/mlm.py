"""Masked language modelling: predict hidden tokens from their context."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator

from selfsup.backbones import Backbone
from selfsup.config import Config
from selfsup.tasks import MaskedModeling, StepOutput, TaskRecipe, TokenMask, gather_tokens
from selfsup.types import Batch, Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.tasks.parts.special_tokens import SpecialTokens, mask_id_of, text_backbone
from selfsup_text.tasks.parts.token_masks import hide_tokens, hide_words, replace_ids


class MLMConfig(Config):
    """Options of masked language modelling."""

    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens to hide; 0.15 in BERT, 0.3 to 0.4 works better in arXiv 2202.08005."""
    mask_share: float = Field(default=0.8, ge=0, le=1)
    """Share of the hidden tokens replaced by the mask token; 0.8 in BERT."""
    random_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the hidden tokens replaced by a random token; 0.1 in BERT. The others stay unchanged."""
    whole_words: bool = False
    """Hide whole words instead of single tokens, as in BERT's later release."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.mask_share + self.random_share > 1:
            raise ValueError(f"mask_share={self.mask_share} and random_share={self.random_share} add up to more than 1")
        return self


class MaskedLanguageModeling(MaskedModeling):
    """BERT's masked language modelling (Devlin et al. 2018, arXiv 1810.04805, section 3.1), without next sentence prediction.

    Every ordinary token is hidden with probability ``rate``; special tokens and padding never are. All texts of a length have
    the same number of hidden tokens, up to rounding, so that only a fixed number of tokens passes the vocabulary head. It is
    the network's own head, pretrained if the network is, and the encoder keeps it.
    """

    backbone: TextBackbone
    distance = "squared"

    def __init__(self, config: MLMConfig, backbone: Backbone, info: Info) -> None:
        backbone = text_backbone(backbone, "Masked language modelling", causal=False)
        super().__init__(backbone, backbone.embed_dim, normalize_targets=False, head=backbone.output_head())
        self.config = config
        self.vocabulary = SpecialTokens(info)
        self.mask_id = mask_id_of(info, "Masked language modelling")

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Mask, encode, predict."""
        mask = self.draw_mask(batch, generator)
        ids = replace_ids(
            batch["ids"],
            mask,
            mask_id=self.mask_id,
            ordinary=self.vocabulary.ordinary,
            mask_share=self.config.mask_share,
            random_share=self.config.random_share,
            generator=generator,
        )
        encoded = self.backbone.encode(self.backbone.tokenize({**batch, "ids": ids}))
        return self.loss(gather_tokens(encoded, mask.hidden), batch, mask)

    def draw_mask(self, batch: Batch, generator: torch.Generator | None) -> TokenMask:
        """Draw the tokens to hide."""
        maskable = self.vocabulary.maskable(batch)
        if self.config.whole_words:
            return hide_words(maskable, batch["words"], self.config.rate, generator)
        return hide_tokens(maskable, self.config.rate, generator)


RECIPE = TaskRecipe(
    config=MLMConfig,
    build=MaskedLanguageModeling,
    optimization={"optimizer": "adamw", "lr": 1e-3, "betas": (0.9, 0.98), "weight_decay": 0.01, "warmup_fraction": 0.05},
    processor={"packing": "blocks", "add_special": True},
)
"""RoBERTa's optimizer (Liu et al. 2019, arXiv 1907.11692), with a learning rate for small encoders (BERT-base: 1e-4)."""
