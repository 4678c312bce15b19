"""The base class of text backbones: embeddings, special tokens, pooling, and the vocabulary head."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Encoded, TokenBackbone, Tokens
from selfsup.errors import ConfigError
from selfsup.types import Batch, Info
from selfsup_text.backbones.dropout import RATE_KEY, SEED_KEY, DropoutNoise, SeededDropout
from selfsup_text.backbones.heads import VocabularyHead
from selfsup_text.backbones.language_head import LanguageHead
from selfsup_text.backbones.layout import Framed, content_of, frame
from selfsup_text.backbones.pooling import Pooling, pool
from selfsup_text.config import DOCUMENTS


@dataclass(frozen=True)
class TextTokens(Tokens):
    """The embedded content of texts, with special tokens and dropout."""

    special: Tensor | None = None
    """[B, 2, D], the embeddings of class token and separator; None: they are looked up."""
    dropout_seed: Tensor | None = None
    """[B] long, seeds of the dropout masks; None: no dropout."""
    dropout_rate: Tensor | None = None
    """[B] float, dropout rates."""


class Ahead(NamedTuple):
    """What a decoder predicts each token from, for tokens with a predecessor."""

    states: Tensor
    """[B, M, D], the last layer's output at the previous token."""
    targets: Tensor
    """[B, M] long, the ids to predict."""
    places: Tensor
    """[B, M] long, their positions in the text."""
    valid: Tensor
    """[B, M] bool, False for padding."""


class TextBackbone(TokenBackbone):
    """A network for batches ``{"ids": [B, N] long, "padding": [B, N] bool}`` of content tokens, padding at the end.

    With ``documents`` ([B, N] long) tokens attend to those of their own document, whose positions begin anew.

    A class token and a separator are added around the content and removed from the output. A decoder gets no class token if
    its tokenizer adds none before a text (GPT-2). The network adds positions itself: ``Tokens.positions`` is zero, and with
    ``keep`` each token keeps its position in the whole text.

    Dropout follows from the batch (``dropout_seed`` and ``dropout_rate``, set by the views), not from a random state, so that
    pretraining is reproducible bit by bit. Other batches have no dropout, even in training mode (as in Geiping & Goldstein
    2022, arXiv:2212.14034).

    Encoders keep one head, the network's own vocabulary head (:meth:`output_head`), because a language model needs it. Tasks
    that train it leave it in :attr:`vocabulary_head`.

    Args:
        info: of the processor: ``vocab_size``, ``max_length``, ``cls_id``, ``sep_id``, ``begins``.
        embed_dim: D.
        causal: whether a token sees only earlier ones.
        pooling: how tokens become one embedding.
        head: the network's own vocabulary head; None: it has none.

    Raises:
        ConfigError: the pooling does not suit the network.
    """

    modality: ClassVar[str] = "text"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "categorical"
    vocabulary_head: LanguageHead | None
    """The network's own vocabulary head, if a task trains it or a pretrained model has it; saved with the encoder."""

    def __init__(self, info: Info, embed_dim: int, *, causal: bool, pooling: Pooling, head: LanguageHead | None = None) -> None:
        super().__init__()
        unfit = "cls" if causal else "last"
        if pooling == unfit:
            other, why = ("last", "sees no text") if causal else ("cls", "is no summary: all tokens see the whole text")
            token = "class" if causal else "last"
            raise ConfigError(
                f"backbone.pooling={pooling!r} does not suit this network: its {token} token {why}. Use {other!r}."
            )
        self.causal = causal
        self._texts_begin = bool(info.get("begins", True))
        self.begins = not causal or self._texts_begin
        self.pooling = pooling
        self.embed_dim = embed_dim
        self.max_length = int(info["max_length"])
        self.noise = DropoutNoise()
        # Replaced by the identity if the network has dropout itself.
        self.input_dropout: nn.Module = SeededDropout(self.noise, -1)
        self.vocabulary_head = None
        # In a tuple, so that it is not registered (trained, saved) unless a task needs it.
        self._own_head: tuple[LanguageHead, ...] = () if head is None else (head,)
        special = torch.tensor([[info["cls_id"], info["sep_id"]]])
        self.register_buffer("special_pair", special, persistent=False)

    special_pair: Tensor

    @property
    @abstractmethod
    def word_embeddings(self) -> nn.Embedding:
        """[V, D]."""

    @abstractmethod
    def mix(self, framed: Framed, *, every_layer: bool = False) -> list[Tensor]:
        """The output of the last layer, [B, L, D], normalised as the network does; with ``every_layer`` of all layers."""

    def position_embeddings(self, n: int) -> Tensor | None:
        """[n, D], the position embeddings of the first ``n`` words of a text; None: the network has none."""
        return None

    @property
    def pooled_dim(self) -> int:
        """Width of the pooled embedding: D, or 2 D for ``mean+max``."""
        return 2 * self.embed_dim if self.pooling == "mean+max" else self.embed_dim

    def forward(self, batch: Batch) -> Encoded:
        """Encode, and pool over the content."""
        tokens = self.tokenize(batch)
        sequence = self._run(tokens)[-1]
        content = content_of(sequence, begins=self.begins)
        assert tokens.padding is not None
        pooled = pool(self.pooling, content, tokens.padding, sequence[:, 0])
        return Encoded(pooled, content, tokens.grid, tokens.padding)

    def tokenize(self, batch: Batch) -> TextTokens:
        """Embed the ids and the special tokens.

        Raises:
            ConfigError: the texts are longer than the network has positions for.
        """
        ids = batch["ids"]
        B, N = ids.shape
        if self.max_length < N:
            raise ConfigError(
                f"a batch holds texts of {N} tokens, but this network was built for {self.max_length} (processor.max_length): "
                "cut them, or build it for more."
            )
        if DOCUMENTS in batch and self.begins and not self._texts_begin:
            raise ConfigError(
                "processor.document_masks: this encoder puts a class token before a text, which the documents of a block lack "
                "with this tokenizer. Use another tokenizer (processor.tokenizer), or a decoder."
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
            group=batch.get(DOCUMENTS),
        )

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The word embeddings."""
        return list(self.word_embeddings.parameters())

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None, first: bool = False) -> Tensor:
        """The output at the content, or at its kept tokens; with ``first`` also at the class token, if there is one."""
        return content_of(self._run(tokens, keep)[-1], begins=self.begins and not first)

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each layer at the content."""
        return [content_of(layer, begins=self.begins) for layer in self._run(tokens, every_layer=True)]

    def ahead(self, batch: Batch) -> Ahead:
        """The states that a language model predicts tokens from; the first token is included if there is a class token.

        In blocks with document masks no token is predicted from another document.
        """
        ids = batch["ids"]
        states = self.encode(self.tokenize(batch), first=True)[:, :-1]
        given = ids.shape[1] - states.shape[1]
        index = torch.arange(given, ids.shape[1], device=ids.device).expand(states.shape[:2])
        valid = ~batch["padding"]
        if (documents := batch.get(DOCUMENTS)) is not None:
            valid = valid & F.pad(documents[:, 1:] == documents[:, :-1], (1, 0), value=False)
        return Ahead(states, ids[:, given:], index, valid[:, given:])

    def targets(self, batch: Batch) -> Tensor:
        """[B, N] long, the ids."""
        return batch["ids"]

    def target_head(self, dim: int) -> nn.Module:
        """A new vocabulary head: a copy of the network's own if the width fits, else BERT's.

        Both share the word embeddings if the network does.
        """
        if self._own_head and dim == self.embed_dim:
            return self._own_head[0].duplicate(self.word_embeddings)
        return VocabularyHead(dim, self.word_embeddings)

    def output_head(self) -> nn.Module:
        """The network's own vocabulary head, which becomes part of the network: trained, averaged and saved with it.

        A pretrained model keeps its pretrained head. If the library has no head for this network, use :meth:`target_head`.
        """
        if not self._own_head:
            return self.target_head(self.embed_dim)
        self.vocabulary_head = self._own_head[0]
        return _OwnHead(self)

    @property
    def own_head(self) -> LanguageHead | None:
        """The network's own vocabulary head, kept or not; None: the library has none."""
        return self._own_head[0] if self._own_head else None

    def freeze_head(self) -> None:
        """Freeze the kept head, except for weights that it shares with the network."""
        own = {id(parameter) for name, parameter in self.named_parameters() if not name.startswith("vocabulary_head.")}
        for parameter in self.vocabulary_head.parameters() if self.vocabulary_head is not None else ():
            parameter.requires_grad_(id(parameter) in own)

    def spare_parts(self) -> Mapping[str, nn.Module]:
        """The network's own vocabulary head."""
        return {"vocabulary_head": self._own_head[0]} if self._own_head else {}

    def expect_weights(self, names: Collection[str]) -> None:
        """Register the vocabulary head if the saved encoder kept it; else drop it."""
        if any(name.startswith("vocabulary_head.") for name in names):
            self.output_head()
        else:
            self._own_head = ()

    def remember_forward(self) -> Callable[[], AbstractContextManager[None]]:
        """Remember the seeds and rates of the dropout."""
        return partial(self.noise.holding, self.noise.seed, self.noise.rate)

    def _run(self, tokens: Tokens, keep: Tensor | None = None, *, every_layer: bool = False) -> list[Tensor]:
        content = tokens.embeddings
        B, N, _ = content.shape
        padding = tokens.padding
        if padding is None:
            padding = torch.zeros((B, N), dtype=torch.bool, device=content.device)
        special = getattr(tokens, "special", None)
        if special is None:
            special = self.word_embeddings(self.special_pair).expand(B, -1, -1)
        framed = frame(content, padding, special.to(content.dtype), keep, begins=self.begins, documents=tokens.group)
        with self.noise.holding(getattr(tokens, "dropout_seed", None), getattr(tokens, "dropout_rate", None)):
            return self.mix(replace(framed, embeddings=self.input_dropout(framed.embeddings)), every_layer=every_layer)


class _OwnHead(nn.Module):
    """Calls the head of a backbone, whose weights are registered only in the backbone."""

    def __init__(self, backbone: TextBackbone) -> None:
        super().__init__()
        self._backbone = (backbone,)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] to logits [..., V]."""
        head = self._backbone[0].vocabulary_head
        assert head is not None
        logits: Tensor = head(hidden)
        return logits
