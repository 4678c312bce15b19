"""What all text backbones share: embeddings, special tokens, pooling, and the head that predicts tokens."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from selfsup.backbones import Encoded, TokenBackbone, Tokens
from selfsup.errors import ConfigError
from selfsup.types import Batch, Info
from selfsup_text.backbones.dropout import RATE_KEY, SEED_KEY, DropoutNoise, SeededDropout
from selfsup_text.backbones.heads import VocabularyHead
from selfsup_text.backbones.layout import Framed, content_of, frame
from selfsup_text.backbones.pooling import Pooling, pool


@dataclass(frozen=True)
class TextTokens(Tokens):
    """The content of texts before the network has mixed it, and what goes with it."""

    special: Tensor | None = None
    """[B, 2, D], the embeddings of the class token and of the separator; None: they are looked up."""
    dropout_seed: Tensor | None = None
    """[B] long, what the dropout of this batch follows from; None: there is none."""
    dropout_rate: Tensor | None = None
    """[B] float, share that is dropped."""


class TextBackbone(TokenBackbone):
    """A network for batches ``{"ids": [B, N] long, "padding": [B, N] bool}`` of content tokens, padding at the end.

    A class token and a separator are put around the content inside, and taken out again. Positions are the network's own
    affair: ``Tokens.positions`` is zero, and with ``keep`` each token has the position it had in the whole text.

    Dropout is not drawn from a random state but asked for by the batch (``dropout_seed`` and ``dropout_rate``, which the
    dropout views put in), so that pretraining can be repeated bit by bit. Other batches have none, in training mode too
    (as Geiping & Goldstein 2022, arXiv:2212.14034, train).

    Args:
        info: of the processor: ``vocab_size``, ``max_length``, ``cls_id``, ``sep_id``.
        word_embeddings: [V, D].
        causal: whether a token sees only those in front of it.
        pooling: how the tokens become one embedding.

    Raises:
        ConfigError: the pooling does not suit the network.
    """

    modality: ClassVar[str] = "text"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "categorical"

    def __init__(self, info: Info, embed_dim: int, *, causal: bool, pooling: Pooling) -> None:
        super().__init__()
        unfit = "cls" if causal else "last"
        if pooling == unfit:
            other, why = ("last", "sees no text") if causal else ("cls", "is only one of many that see all")
            token = "class" if causal else "last"
            raise ConfigError(
                f"backbone.pooling={pooling!r} does not suit this network: its {token} token {why}. Take {other!r}."
            )
        self.causal = causal
        self.pooling = pooling
        self.embed_dim = embed_dim
        self.max_length = int(info["max_length"])
        self.noise = DropoutNoise()
        # Embeddings drop too where a network has no dropout of its own.
        self.input_dropout: nn.Module = SeededDropout(self.noise, -1)
        special = torch.tensor([[info["cls_id"], info["sep_id"]]])
        self.register_buffer("special_pair", special, persistent=False)

    special_pair: Tensor

    @property
    @abstractmethod
    def word_embeddings(self) -> nn.Embedding:
        """[V, D]."""

    @abstractmethod
    def mix(self, framed: Framed, *, every_layer: bool = False) -> list[Tensor]:
        """The output of the last layer, [B, L, D], normalised as the network does; with ``every_layer`` all, in order."""

    @property
    def pooled_dim(self) -> int:
        """Width of the pooled embedding: D, or 2 D for ``mean+max``."""
        return 2 * self.embed_dim if self.pooling == "mean+max" else self.embed_dim

    def forward(self, batch: Batch) -> Encoded:
        """Pool over the content."""
        tokens = self.tokenize(batch)
        sequence = self._run(tokens)[-1]
        content = content_of(sequence)
        assert tokens.padding is not None
        pooled = pool(self.pooling, content, tokens.padding, sequence[:, 0])
        return Encoded(pooled, content, tokens.grid, tokens.padding)

    def tokenize(self, batch: Batch) -> TextTokens:
        """Look the ids up, those of the special tokens with them.

        Raises:
            ConfigError: the texts are longer than the network has positions for.
        """
        ids = batch["ids"]
        B, N = ids.shape
        if self.max_length < N:
            raise ConfigError(
                f"a batch holds texts of {N} tokens, and this network was built for {self.max_length} (processor.max_length): "
                "cut them, or build it for more."
            )
        looked = self.word_embeddings(torch.cat([ids, self.special_pair.expand(B, 2)], dim=1))
        content, special = looked.split([N, 2], dim=1)
        return TextTokens(
            embeddings=content,
            positions=torch.zeros_like(content[:1]),
            grid=(N,),
            padding=batch["padding"],
            special=special,
            dropout_seed=batch.get(SEED_KEY),
            dropout_rate=batch.get(RATE_KEY),
        )

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """The output at the content, or at what is kept of it."""
        return content_of(self._run(tokens, keep)[-1])

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each layer at the content."""
        return [content_of(layer) for layer in self._run(tokens, every_layer=True)]

    def targets(self, batch: Batch) -> Tensor:
        """[B, N] long, the ids."""
        return batch["ids"]

    def target_head(self, dim: int) -> nn.Module:
        """BERT's head, its decoder tied to the word embeddings."""
        return VocabularyHead(dim, self.word_embeddings)

    def _run(self, tokens: Tokens, keep: Tensor | None = None, *, every_layer: bool = False) -> list[Tensor]:
        content = tokens.embeddings
        B, N, _ = content.shape
        padding = tokens.padding
        if padding is None:
            padding = torch.zeros((B, N), dtype=torch.bool, device=content.device)
        special = getattr(tokens, "special", None)
        if special is None:
            special = self.word_embeddings(self.special_pair).expand(B, -1, -1)
        framed = frame(content, padding, special.to(content.dtype), keep)
        self.noise.set(getattr(tokens, "dropout_seed", None), getattr(tokens, "dropout_rate", None))
        try:
            return self.mix(replace(framed, embeddings=self.input_dropout(framed.embeddings)), every_layer=every_layer)
        finally:
            self.noise.set(None, None)
