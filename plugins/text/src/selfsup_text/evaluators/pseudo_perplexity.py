"""Pseudo-perplexity of encoders: how well they predict each token when only it is masked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from selfsup.evaluation import EvaluatorRecipe, Split
from selfsup.types import Batch
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.evaluators.perplexity import drawn_batches, scores
from selfsup_text.evaluators.vocabulary_probe import Examples, HeadConfig, text_backbone_of, vocabulary_head
from selfsup_text.tasks.parts.special_tokens import mask_id_of

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_COPIES = 128
"""Copies of one text, each with another masked token, that are encoded together."""


class PseudoPerplexityConfig(HeadConfig):
    """Options of the pseudo-perplexity evaluator."""

    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of masked tokens while the head is fitted; in the measurement one token at a time is masked."""
    max_rows: int = Field(default=200, ge=1)
    """Most test texts, drawn with the seed; each is encoded once per token."""


@dataclass(frozen=True)
class PseudoPerplexity:
    """exp of the mean of -log p(token | all others) over test texts (Salazar et al. 2020, arXiv 1910.14659, equation 4).

    As for ``perplexity`` the vocabulary head is the masked language model's own, or is fitted on frozen tokens of the training
    rows, with a share ``rate`` masked. Special tokens are never masked. Texts of one token have no context and are left out.
    """

    config: PseudoPerplexityConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """``pseudo_perplexity``, ``cross_entropy`` (nats per token), ``accuracy`` and the number of ``tokens`` of ``test``.

        Raises:
            ConfigError: the backbone is not an encoder.
            DataError: no text has two tokens.
        """
        backbone = text_backbone_of(encoder, "pseudo-perplexity", causal=False)
        info = encoder.processor.info()
        mask_id = mask_id_of(info, "The evaluator 'pseudo-perplexity'")
        special = torch.tensor(list(info["special_ids"]), device=encoder.device)
        make = partial(hidden_tokens, rate=self.config.rate, mask_id=mask_id, special=special)
        head = vocabulary_head(encoder, backbone, train.store, make, self.config, seed)
        texts = drawn_batches(encoder, test, self.config.max_rows, 1, seed)
        return scores(
            "pseudo_perplexity", encoder, head, texts, partial(one_by_one, backbone, mask_id=mask_id, special=special)
        )


def hidden_tokens(
    backbone: TextBackbone, batch: Batch, generator: torch.Generator, *, rate: float, mask_id: int, special: Tensor
) -> Examples:
    """Ordinary tokens, masked with probability ``rate``, and their ids."""
    ids = batch["ids"]
    free = ~batch["padding"] & ~torch.isin(ids, special)
    hidden = free & (torch.rand(ids.shape, generator=generator, device=ids.device) < rate)
    encoded = backbone.encode(backbone.tokenize({**batch, "ids": ids.masked_fill(hidden, mask_id)}))
    return Examples(encoded[hidden], ids[hidden])


def one_by_one(backbone: TextBackbone, text: Batch, *, mask_id: int, special: Tensor) -> Examples:
    """Each ordinary token of one text ([1, N]), from a copy of the text in which only it is masked."""
    ids = text["ids"]
    free = (~text["padding"] & ~torch.isin(ids, special))[0]
    places = free.nonzero().flatten() if int((~text["padding"]).sum()) > 1 else free.new_zeros(0).long()
    features: list[Tensor] = [torch.zeros(0, backbone.embed_dim, device=ids.device)]
    for part in torch.split(places, _COPIES) if len(places) else ():
        copies = {key: value.expand(len(part), *value.shape[1:]) for key, value in text.items()}
        hidden = ids.expand(len(part), -1).scatter(1, part.unsqueeze(1), mask_id)
        encoded = backbone.encode(backbone.tokenize({**copies, "ids": hidden}))
        features.append(encoded[torch.arange(len(part), device=ids.device), part].float())
    return Examples(torch.cat(features), ids[0, places])


RECIPE = EvaluatorRecipe(PseudoPerplexityConfig, PseudoPerplexity)
