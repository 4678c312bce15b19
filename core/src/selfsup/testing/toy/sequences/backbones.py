"""Two backbones: a transformer, whose tokens can be masked, and a small convolutional network with batch norm."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone, BackboneRecipe, Encoded, TokenBackbone, Tokens, mean_over_tokens
from selfsup.config import Config
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.tasks.parts.transformer import Transformer, lattice_positions
from selfsup.types import Batch, Info


class SequenceTransformerConfig(Config):
    """Options of the transformer."""

    dim: int = Field(default=32, ge=2)
    """Width D."""
    depth: int = Field(default=2, ge=1)
    """Number of blocks."""
    heads: int = Field(default=2, ge=1)
    """Attention heads."""
    causal: bool = False
    """Whether a token sees only those before it."""


class CausalTransformerConfig(SequenceTransformerConfig):
    """Options of the causal transformer."""

    causal: bool = True
    """Whether a token sees only those before it."""


class SequenceConvConfig(Config):
    """Options of the convolutional network."""

    dim: int = Field(default=32, ge=2)
    """Width D."""


class SequenceTransformer(TokenBackbone):
    """A transformer over tokens; what a token is, the two subclasses say."""

    modality: ClassVar[str] = "sequence"
    embedding: nn.Module

    def __init__(self, config: SequenceTransformerConfig) -> None:
        super().__init__()
        self.embed_dim, self.causal = config.dim, config.causal
        self.transformer = Transformer(config.dim, config.depth, config.heads)

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """[B, N, D], the content of each token."""

    def tokenize(self, batch: Batch) -> Tokens:
        """One token an id or frame."""
        embeddings = self.embed(batch)
        N = embeddings.shape[1]
        positions = lattice_positions((N,), self.embed_dim, embeddings.device).unsqueeze(0)
        return Tokens(embeddings, positions, (N,), batch.get("padding"))

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """Of the ids or frames."""
        return list(self.embedding.parameters())

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Mix the tokens, or only those of ``keep``."""
        return self.transformer(*self._visible(tokens, keep))  # type: ignore[no-any-return]  # modules are callable as Any

    def blocks(self) -> list[nn.Module]:
        """Those of the transformer."""
        return list(self.transformer.blocks)

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each block."""
        return self.transformer.layers(*self._visible(tokens, None))

    def _visible(self, tokens: Tokens, keep: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Content plus position, padding and, for causal attention, order of the tokens that the network may see."""
        x, padding = tokens.embeddings + tokens.positions, tokens.padding
        order = torch.arange(x.shape[1], device=x.device).unsqueeze(0) if keep is None else keep
        if keep is not None:
            x, padding = gather_tokens(x, keep), None if padding is None else gather_tokens(padding, keep)
        return x, padding, order if self.causal else None


class IdTransformer(SequenceTransformer):
    """Tokens are ids, and the ids are what there is to predict."""

    target_kind: ClassVar[Literal["continuous", "categorical"]] = "categorical"

    def __init__(self, config: SequenceTransformerConfig, info: Info) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(info["vocabulary"], config.dim)
        self.target_dim = info["vocabulary"]

    def embed(self, batch: Batch) -> Tensor:
        """Look ids up."""
        out: Tensor = self.embedding(batch["sequence"])
        return out

    def targets(self, batch: Batch) -> Tensor:
        """[B, N] long."""
        return batch["sequence"]


class FrameTransformer(SequenceTransformer):
    """Tokens are frames, and the standardised frames are what there is to predict."""

    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"

    def __init__(self, config: SequenceTransformerConfig, info: Info) -> None:
        super().__init__(config)
        self.standardize = Standardize(info)
        self.embedding = nn.Linear(info["channels"], config.dim)
        self.target_dim = info["channels"]

    def embed(self, batch: Batch) -> Tensor:
        """Project frames."""
        out: Tensor = self.embedding(self.standardize(batch["sequence"]))
        return out

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, C] float."""
        out: Tensor = self.standardize(batch["sequence"])
        return out


class Standardize(nn.Module):
    """Frames with zero mean and unit variance in each channel, as fitted on the training rows."""

    mean: Tensor
    std: Tensor

    def __init__(self, info: Info) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(info["mean"], dtype=torch.float32))
        self.register_buffer("std", torch.tensor(info["std"], dtype=torch.float32))

    def forward(self, frames: Tensor) -> Tensor:
        """[B, N, C] to the same."""
        return (frames - self.mean) / self.std


class SequenceConv(Backbone):
    """Embedding, then twice convolution, batch norm, ReLU; the map is averaged over the real tokens."""

    modality: ClassVar[str] = "sequence"

    def __init__(self, config: SequenceConvConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim = config.dim
        self.embedding = (
            nn.Embedding(info["vocabulary"], config.dim)
            if info["kind"] == "ids"
            else nn.Sequential(Standardize(info), nn.Linear(info["channels"], config.dim))
        )
        self.convolutions = nn.ModuleList(nn.Conv1d(config.dim, config.dim, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(config.dim) for _ in range(2))

    def forward(self, batch: Batch) -> Encoded:
        """Encode; padding is set to zero before each convolution, so that it changes nothing but batch statistics."""
        padding = batch.get("padding")
        x = self.embedding(batch["sequence"]).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = x if padding is None else x.masked_fill(padding.unsqueeze(1), 0)
            x = F.relu(norm(convolution(x)))
        tokens = x.transpose(1, 2)
        return Encoded(mean_over_tokens(tokens, padding), tokens, (tokens.shape[1],), padding)


def build_transformer(config: SequenceTransformerConfig, info: Info) -> SequenceTransformer:
    """The transformer for ids or for frames."""
    return IdTransformer(config, info) if info["kind"] == "ids" else FrameTransformer(config, info)


TRANSFORMER = BackboneRecipe(SequenceTransformerConfig, build_transformer)
CAUSAL = BackboneRecipe(CausalTransformerConfig, build_transformer)
CONV = BackboneRecipe(SequenceConvConfig, SequenceConv)
