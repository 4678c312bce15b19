"""The contract of a backbone that sees its input as tokens, and functions on tokens."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones.base import Backbone, Encoded
from selfsup.backbones.large_vocabulary import chunked_over_tokens
from selfsup.errors import ConfigError
from selfsup.runtime.precision import full
from selfsup.types import Batch


@dataclass(frozen=True)
class Tokens:
    """A batch cut into tokens, before the network has mixed them. Special tokens (class, registers) are not among them."""

    embeddings: Tensor
    """[B, N, D], the content of each token without its position."""
    positions: Tensor
    """[B, N, D] or [1, N, D], added to the content by ``encode``; zeros where positions are handled inside the network."""
    grid: tuple[int, ...]
    """The lattice that the N tokens lie on: (T,), (H, W), (T, H, W) or (columns,)."""
    padding: Tensor | None = None
    """[B, N] bool, True where a token is padding; nothing looks at such tokens, and they are never hidden or predicted."""
    group: Tensor | None = None
    """[B, N] long, the document that a token belongs to: it looks only at tokens of the same one, and is predicted from them
    only; None: all tokens of a sample belong together."""

    def masked(self, mask: Tensor, token: Tensor) -> Tokens:
        """Put ``token`` ([D]) in the place of the content wherever ``mask`` ([B, N] bool) is True; positions stay."""
        embeddings = torch.where(mask.unsqueeze(-1), token.to(self.embeddings.dtype), self.embeddings)
        return replace(self, embeddings=embeddings)


class TokenBackbone(Backbone):
    """A backbone that sees its input as tokens: what masked modelling and latent prediction need.

    ``forward(batch)`` equals pooling over ``encode(tokenize(batch))``: by default the mean of the real tokens. The mask token
    belongs to the task, not to the backbone: see :meth:`Tokens.masked`.
    """

    target_kind: ClassVar[Literal["continuous", "categorical"]]
    """Whether :meth:`targets` gives real vectors [B, N, P] (float) or class ids [B, N] (long)."""
    target_dim: int
    """P, or the number of classes."""
    target_channels: int = 1
    """How many channels (the last axis of P) are normalised each for itself where targets are; 1: all P numbers together."""
    causal: bool = False
    """Whether a token sees only itself and those before it on the lattice (row-major): what autoregressive tasks need."""

    def forward(self, batch: Batch) -> Encoded:
        """Encode all tokens; the embedding is the mean of the real ones."""
        tokens = self.tokenize(batch)
        encoded = self.encode(tokens)
        return Encoded(mean_over_tokens(encoded, tokens.padding), encoded, tokens.grid, tokens.padding)

    @abstractmethod
    def tokenize(self, batch: Batch) -> Tokens:
        """Cut a batch into tokens."""

    @abstractmethod
    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: from :meth:`tokenize`, perhaps with mask tokens put in.
            keep: [B, K] long, indices of the only tokens that the network may see, in the order wanted; None: all N. A sample
                with padding may fill its K up with padding tokens; their output means nothing.

        Returns:
            [B, K, D] or [B, N, D], the normalised output of the last layer, without the special tokens.
        """

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The parameters that :meth:`tokenize` uses, which a network over the tokens of several parts of a row takes over.

        Raises:
            ConfigError: the network does not say.
        """
        raise ConfigError(
            f"{type(self).__name__} does not say which of its parameters make tokens (TokenBackbone.tokenizer_parameters), so "
            "that its tokens cannot be fused with those of other parts. Take another backbone for this part."
        )

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """What data2vec averages: the output of each layer from the first to the last, [B, N, D] each.

        Override where there is more than one layer; this gives the last layer's alone.
        """
        return [self.encode(tokens)]

    @abstractmethod
    def targets(self, batch: Batch) -> Tensor:
        """What there is to predict for each token: [B, N, P] float or [B, N] long, never requiring a gradient."""

    def normalize_targets(self, targets: Tensor) -> Tensor:
        """Give continuous targets ([..., P]) zero mean and unit variance each, over their own numbers; class ids stay.

        Of several :attr:`target_channels` each is normalised for itself. This is MAE's better variant (He et al. 2021,
        arXiv 2111.06377, section 3).
        """
        return standardized_vectors(targets, self.target_channels) if self.target_kind == "continuous" else targets

    def target_weight(self, batch: Batch) -> Tensor | None:
        """[B, N] float, 0 where a token has no target (a missing cell of a table) and 1 elsewhere; None: all have one.

        Padding is another matter: it is no token, and no mask hides it.
        """
        return None

    def target_head(self, dim: int) -> nn.Module:
        """A head from a decoder's width to what :meth:`target_loss` takes: [B, K, dim] to [B, K, target_dim].

        Override where tokens have targets of several kinds (the cells of a table).
        """
        return nn.Linear(dim, self.target_dim)

    def output_head(self) -> nn.Module:
        """The head of tasks that predict targets from what :meth:`encode` gives, without a decoder: language models.

        Override where the network has such a head of its own, which then is saved with it; this one belongs to the task, and is
        thrown away.
        """
        return self.target_head(self.embed_dim)

    def target_loss(
        self, prediction: Tensor, target: Tensor, index: Tensor, *, distance: Literal["squared", "absolute"] = "squared"
    ) -> Tensor:
        """The loss of each predicted token, [B, K], computed in float32 at least.

        Args:
            prediction: [B, K, ...] from :meth:`target_head`.
            target: [B, K, P] or [B, K], the targets of the same tokens.
            index: [B, K] long, which tokens they are.
            distance: how the method compares real vectors (mean over P); class ids have cross-entropy either way.
        """
        prediction = full(prediction)
        if self.target_kind == "categorical":
            # Flat, so that the classes lie side by side: on a CPU log-softmax along another axis is several times slower.
            return F.cross_entropy(prediction.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        difference = prediction - target
        return (difference.square() if distance == "squared" else difference.abs()).mean(dim=-1)

    def predicted_loss(
        self,
        head: nn.Module,
        states: Tensor,
        target: Tensor,
        index: Tensor,
        *,
        distance: Literal["squared", "absolute"] = "squared",
    ) -> Tensor:
        """``target_loss(head(states), ...)``, [B, K]; of large vocabularies without all logits at once.

        Args:
            head: from :meth:`target_head` or :meth:`output_head`.
            states: [B, K, dim], what the head takes.
            target: as for :meth:`target_loss`.
            index: as for :meth:`target_loss`.
            distance: as for :meth:`target_loss`.
        """

        def losses(states: Tensor, target: Tensor, index: Tensor) -> tuple[Tensor, ...]:
            return (self.target_loss(head(states), target, index, distance=distance),)

        if self.target_kind != "categorical":
            return losses(states, target, index)[0]
        return chunked_over_tokens(losses, states, target, index, classes=self.target_dim)[0]


def grid_size(grid: tuple[int, ...]) -> int:
    """Number of tokens on a lattice."""
    return math.prod(grid)


def standardized_vectors(x: Tensor, channels: int = 1) -> Tensor:
    """Each vector of [..., P] with zero mean and unit variance (unbiased, + 1e-6, as MAE's code); P = 1 is left as it is.

    Of several ``channels``, which are the last axis of P, each is standardised for itself. Computed in float32 at least.
    """
    if x.shape[-1] == channels:
        return x
    x = full(x)
    split = x.reshape(*x.shape[:-1], -1, channels)
    variance, mean = torch.var_mean(split, dim=-2, keepdim=True)
    out: Tensor = (split - mean) / (variance + 1e-6).sqrt()
    return out.flatten(-2)


def mean_over_tokens(tokens: Tensor, padding: Tensor | None) -> Tensor:
    """[B, N, D] tokens to their mean [B, D], those of ``padding`` ([B, N] bool, True where padding; or None) left out.

    A sample without a real token has zeros.
    """
    if padding is None:
        return tokens.mean(dim=1)
    real = (~padding).unsqueeze(-1).to(tokens.dtype)
    return (tokens * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)


def max_over_tokens(tokens: Tensor, padding: Tensor) -> Tensor:
    """[B, N, D] tokens to their maximum [B, D], those of ``padding`` ([B, N] bool) left out; each sample has a real token."""
    return tokens.masked_fill(padding.unsqueeze(-1), torch.finfo(tokens.dtype).min).amax(dim=1)
