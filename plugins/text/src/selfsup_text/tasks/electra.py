"""ELECTRA: a small generator replaces tokens, and the encoder detects which tokens were replaced."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, chunked_over_tokens
from selfsup.config import Config
from selfsup.runtime import full
from selfsup.tasks import HEAD_WIDTH, PretextTask, StepOutput, TaskRecipe, TokenMask, Transformer, gather_tokens, mean_term
from selfsup.types import Batch, Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.backbones.layout import document_places
from selfsup_text.config import DOCUMENTS
from selfsup_text.tasks.parts.special_tokens import SpecialTokens, mask_id_of, text_backbone
from selfsup_text.tasks.parts.token_masks import hide_tokens, put


class ElectraConfig(Config):
    """Options of ELECTRA."""

    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that the generator replaces; 0.15 in the paper, 0.25 for its large model."""
    generator_dim: int | None = Field(default=None, ge=4)
    """Width of the generator; None: a quarter of the encoder's, as for the paper's small and large models."""
    generator_depth: int = Field(default=2, ge=1)
    """Blocks of the generator; as many as the encoder's in the paper."""
    generator_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the generator; None: one per 32 channels."""
    discriminator_weight: float = Field(default=50.0, gt=0)
    """Weight of the encoder's loss relative to the generator's; 50 in the paper."""


class Generator(nn.Module):
    """A small masked language model that uses the encoder's word and position embeddings.

    As in the paper's code word and position embeddings are added, normalised and projected to the generator's width.

    Args:
        embedding_dim: E, width of the word embeddings.
        dim: width; a linear layer maps E to it if they differ.
        depth: number of blocks.
        heads: attention heads.
        vocab_size: V, number of ids that it predicts.
    """

    def __init__(self, embedding_dim: int, dim: int, depth: int, heads: int | None, vocab_size: int) -> None:
        super().__init__()
        self.embedded_norm = nn.LayerNorm(embedding_dim)
        self.enter = nn.Linear(embedding_dim, dim) if dim != embedding_dim else nn.Identity()
        self.transformer = Transformer(dim, depth, heads)
        self.leave = nn.Linear(dim, embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, embedded: Tensor, padding: Tensor, hidden: Tensor, documents: Tensor | None = None) -> Tensor:
        """[B, M, E], what :meth:`logits` predicts hidden tokens from.

        Args:
            embedded: [B, N, E], words (mask tokens included) plus positions.
            padding: [B, N] bool.
            hidden: [B, M] long, the tokens to predict.
            documents: [B, N] long, the document that a token belongs to; None: all are one.
        """
        x = self.transformer(self.enter(self.embedded_norm(embedded)), padding, None, documents)
        states: Tensor = self.norm(F.gelu(self.leave(gather_tokens(x, hidden))))
        return states

    def logits(self, states: Tensor, words: Tensor) -> Tensor:
        """[B, M, V], at least in float32; ``words`` ([V or more, E]) are the word embeddings."""
        return full(F.linear(states, words[: len(self.bias)], self.bias))


class Electra(PretextTask):
    """Replaced token detection (Clark et al. 2020, arXiv 2003.10555).

    The generator is trained by maximum likelihood, not against the encoder; no gradient passes through its samples. It shares
    the word and position embeddings (section 3.2); if the network has no position table, it has its own. A correctly sampled
    token is labelled as original.
    """

    backbone: TextBackbone

    def __init__(self, config: ElectraConfig, backbone: Backbone, info: Info) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone = text_backbone(backbone, "ELECTRA", causal=False)
        self.vocabulary = SpecialTokens(info)
        self.mask_id = mask_id_of(info, "ELECTRA")
        width = backbone.embed_dim
        dim = config.generator_dim or max(width // 4 // HEAD_WIDTH * HEAD_WIDTH, HEAD_WIDTH)
        embedding_dim = backbone.word_embeddings.embedding_dim
        self.generator = Generator(embedding_dim, dim, config.generator_depth, config.generator_heads, self.vocabulary.size)
        self.own_positions: nn.Embedding | None = None
        if backbone.position_embeddings(int(info["max_length"])) is None:
            self.own_positions = nn.Embedding(int(info["max_length"]), embedding_dim)
            nn.init.normal_(self.own_positions.weight, std=float(backbone.word_embeddings.weight.detach().std()))
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """Mask tokens, replace them by samples of the generator, classify all tokens."""
        ids = batch["ids"]
        mask = hide_tokens(self.vocabulary.maskable(batch), self.config.rate, generator)
        chance = torch.rand(mask.hidden.shape, generator=generator, device=ids.device)
        states, answers = self.fill_in(batch, mask), ids.gather(1, mask.hidden)
        errors, drawn = chunked_over_tokens(self._guess, states, answers, chance, classes=self.vocabulary.size)
        filled = put(ids, mask, drawn)
        generator_loss = mean_term(errors, mask.weight)
        encoded = self.backbone.encode(self.backbone.tokenize({**batch, "ids": filled}))
        replaced = self.head(encoded).squeeze(-1).float()
        wrong = F.binary_cross_entropy_with_logits(replaced, (filled != ids).float(), reduction="none")
        loss = mean_term(wrong, (~batch["padding"]).float())
        return StepOutput.of(
            generator_loss,
            loss.scaled(self.config.discriminator_weight),
            metrics={"generator_loss": generator_loss.loss.detach(), "discriminator_loss": loss.loss.detach()},
        )

    def fill_in(self, batch: Batch, mask: TokenMask) -> Tensor:
        """[B, M, E], the generator's states at the hidden tokens."""
        words, N = self.backbone.word_embeddings, batch["ids"].shape[1]
        shared = self.backbone.position_embeddings(N)
        positions = self.own_positions.weight[:N] if shared is None and self.own_positions is not None else shared
        documents = batch.get(DOCUMENTS)
        if documents is not None:
            assert positions is not None
            positions = positions[document_places(documents)]
        embedded = words(batch["ids"].masked_fill(mask.mask, self.mask_id)) + positions
        states: Tensor = self.generator(embedded, batch["padding"], mask.hidden, documents)
        return states

    def _guess(self, states: Tensor, answers: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
        """[B, M] each: the generator's loss, and an id drawn from what it predicts."""
        logits = self.generator.logits(states, self.backbone.word_embeddings.weight)
        errors = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none")
        return errors.view(answers.shape), draw(logits.detach(), chance)


def draw(logits: Tensor, chance: Tensor) -> Tensor:
    """[...] long, sample one id from each distribution [..., V] by cumulative probabilities.

    ``torch.multinomial`` would synchronise with the device.

    Args:
        logits: [..., V].
        chance: [...], uniform in 0..1.
    """
    cumulated = logits.softmax(dim=-1).cumsum(dim=-1)
    return (cumulated < chance.unsqueeze(-1) * cumulated[..., -1:]).sum(dim=-1).clamp(max=logits.shape[-1] - 1)


RECIPE = TaskRecipe(
    config=ElectraConfig,
    build=Electra,
    optimization={
        "optimizer": "adamw",
        "base_lr": 1e-3,
        "weight_decay": 0.01,
        "eps": 1e-6,
        "warmup_fraction": 0.01,
        "clip": 1.0,
    },
    processor={"packing": "blocks", "add_special": True},
)
"""ELECTRA-small's settings (5e-4 at a batch of 128, warm-up for 10k of 1M steps) with a cosine instead of linear decay."""
