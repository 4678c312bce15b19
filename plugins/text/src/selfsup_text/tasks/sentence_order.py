"""Sentence order: predict whether the two segments of a text were swapped."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.tasks import Transformation, TransformationRecipe, Transformed
from selfsup.types import Batch, Info
from selfsup_text.tasks.parts.special_tokens import SpecialTokens


class SentenceOrderConfig(Config):
    """Options of :class:`SentenceOrder`."""

    least_share: float = Field(default=0.25, gt=0, le=0.5)
    """Least share of the tokens in a segment; in the paper segments are sentences of any length."""
    most_share: float = Field(default=0.75, ge=0.5, lt=1)
    """Largest share of the tokens in a segment."""

    @model_validator(mode="after")
    def _symmetric(self) -> Self:
        if abs(self.least_share + self.most_share - 1) > 1e-9:
            raise ValueError(
                f"least_share={self.least_share} and most_share={self.most_share} do not add up to 1: the length of a segment "
                "would reveal whether it is the first"
            )
        return self


class SentenceOrder(Transformation):
    """ALBERT's sentence-order prediction (Lan et al. 2019, arXiv 1909.11942, section 3.1).

    Two consecutive segments are in order or swapped, with a separator between them. Batches do not mark the ends of sentences,
    so a text is cut before a random word. Its first and last token are left out, because a capital or a full stop would reveal
    the order.
    """

    kind = "class"
    n_outputs = 2

    def __init__(self, config: SentenceOrderConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = SpecialTokens(info)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """Swap the segments of half of the texts; label 1: swapped."""
        ids = batch["ids"]
        B, N = ids.shape
        total = ((~batch["padding"]).sum(dim=1, keepdim=True) - 2).clamp(min=0)
        cut = self.cut(batch["words"], total, generator)
        # Exactly half of every batch: an unbalanced batch would mostly train the head's bias.
        order = torch.rand(B, generator=generator, device=ids.device).argsort()
        label = (order % 2).unsqueeze(1)
        swapped = label == 1
        first = torch.where(swapped, total - cut, cut)
        place = torch.arange(N, device=ids.device).unsqueeze(0)
        behind = place > first
        source = place - behind.long() + torch.where(behind, -1, 1) * torch.where(swapped, torch.where(behind, first, cut), 0)
        valid = place <= total
        moved = self.vocabulary.take(batch, (source + 1).clamp(min=0, max=N - 1), valid)
        between = place == first
        moved["ids"] = moved["ids"].masked_fill(between, self.vocabulary.end_id)
        # The separator is a separate word. Words are numbered anew, since the old numbers would reveal the order.
        words = moved["words"].masked_fill(between, N)
        begins = F.pad(words[:, 1:] != words[:, :-1], (1, 0))
        moved["words"] = begins.cumsum(dim=1).masked_fill(moved["padding"] & ~between, -1)
        # Fewer than two tokens have no order.
        return Transformed(moved, label.squeeze(1), (total.squeeze(1) > 1).float())

    def cut(self, words: Tensor, total: Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, 1] long, the length of the first segment: a random share of all tokens, extended to the start of the next word.

        Args:
            words: [B, N] long, of the whole text.
            total: [B, 1] long, tokens of both segments, starting at the text's second token.
            generator: for the random draws.
        """
        N = words.shape[1]
        least, most = round(self.config.least_share * 1000), round(self.config.most_share * 1000)
        share = torch.randint(least, most + 1, total.shape, generator=generator, device=words.device)
        earliest = torch.maximum((total * share + 500) // 1000, total.clamp(max=1))
        place = torch.arange(N, device=words.device).unsqueeze(0)
        begins = F.pad(words[:, 1:] != words[:, :-1], (0, 1))
        candidate = begins & (place >= earliest) & (place < total)
        found = torch.where(candidate, place, N).amin(dim=1, keepdim=True)
        return torch.where(found < N, found, torch.minimum(earliest, (total - 1).clamp(min=0)))


RECIPE = TransformationRecipe(config=SentenceOrderConfig, build=SentenceOrder)
