"""The base of the small token backbones: a transformer with positions on the lattice."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from selfsup.backbones import Finetuning, TokenBackbone, Tokens, vision_transformer_finetuning
from selfsup.errors import ConfigError
from selfsup.tasks import Transformer, lattice_positions
from selfsup.types import Batch
from selfsup_audio.backbones.frames import gathered


class AudioTokenBackbone(TokenBackbone):
    """A transformer over tokens of a recording; subclasses define the tokens and the targets.

    Positions are fixed sines and cosines on the lattice, so that recordings may have any length. The embedding is the mean of
    the real tokens. Residual branches start smaller by the root of twice the depth, as in GPT-2 (Radford et al. 2019, section
    2.3): otherwise embeddings collapse for a while in the first steps of masked tasks.

    Args:
        embed_dim: width D.
        depth: blocks.
        heads: attention heads; None: one for every 32 channels.

    Raises:
        ConfigError: the heads do not divide the width.
    """

    modality: ClassVar[str] = "audio"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"

    def __init__(self, embed_dim: int, depth: int, heads: int | None) -> None:
        super().__init__()
        if heads is not None and embed_dim % heads:
            raise ConfigError(f"backbone.heads={heads} does not divide backbone.embed_dim={embed_dim}.")
        self.embed_dim = embed_dim
        self.transformer = Transformer(embed_dim, depth, heads, shrink_residuals=True)

    @abstractmethod
    def content(self, batch: Batch) -> tuple[Tensor, tuple[int, ...], Tensor]:
        """Embeddings [B, N, D] without positions, the lattice of the N tokens, and their padding [B, N] bool."""

    def tokenize(self, batch: Batch) -> Tokens:
        """Embed."""
        embeddings, grid, padding = self.content(batch)
        positions = lattice_positions(grid, self.embed_dim, embeddings.device).unsqueeze(0)
        return Tokens(embeddings, positions, grid, padding)

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Mix the tokens, or only those of ``keep``."""
        return self._layers(tokens, keep)[-1]

    def blocks(self) -> list[nn.Module]:
        """Those of the transformer."""
        return list(self.transformer.blocks)

    @property
    def finetuning(self) -> Finetuning:
        """As MAE's."""
        return vision_transformer_finetuning(self.embed_dim)

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each block; the last is normalised."""
        return self._layers(tokens, None)

    def _layers(self, tokens: Tokens, keep: Tensor | None) -> list[Tensor]:
        x = gathered(tokens.embeddings + tokens.positions, keep)
        padding = None if tokens.padding is None else gathered(tokens.padding, keep)
        if padding is not None and surely_whole(padding):
            padding = None
        return self.transformer.layers(x, padding)


def surely_whole(padding: Tensor) -> bool:
    """Whether there is certainly no padding, so that attention needs no mask; False where only the device knows."""
    if padding.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return not bool(padding.any())
