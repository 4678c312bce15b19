"""``gru``: a recurrent network that reads log-mel frames from first to last."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import BackboneRecipe, TokenBackbone, Tokens
from selfsup.config import Config
from selfsup.types import Batch, Info
from selfsup_audio.backbones.frames import gathered, whole_pieces
from selfsup_audio.backbones.recurrence import GRULayer
from selfsup_audio.spectra import LogMel, LogMelConfig


class GRUConfig(Config):
    """Options of :class:`GRUBackbone`."""

    embed_dim: int = Field(256, ge=8, le=4096)
    """Width D of every layer; 512 in APC."""
    depth: int = Field(2, ge=1, le=16)
    """Layers; 3 in APC."""
    stack: int = Field(2, ge=1, le=64)
    """Neighbouring frames in a token; more make fewer steps, which is faster; 1 in APC."""
    mel: LogMelConfig = LogMelConfig()
    """The spectrogram; 80 bands in APC, of zero mean and unit variance."""


class GRUBackbone(TokenBackbone):
    """Gated recurrent layers, each but the first with a residual connection (APC: Chung et al. 2019, arXiv:1904.03240).

    It is causal: a token sees those before it. Only the standardisation of the spectrogram (``mel.standardize``) depends on the
    whole clip. With ``keep`` it reads the kept tokens in their order in time. It runs in float32, whatever the run's precision.
    The embedding is the mean of the outputs at real tokens; targets are the tokens' standardised log-mel frames.
    """

    modality: ClassVar[str] = "audio"
    target_kind: ClassVar[Literal["continuous", "categorical"]] = "continuous"
    causal = True

    def __init__(self, config: GRUConfig, info: Info) -> None:
        super().__init__()
        self.embed_dim, self.stack = config.embed_dim, config.stack
        self.mel = LogMel(config.mel, int(info["sample_rate"]))
        self.target_dim = config.stack * config.mel.n_mels
        self.embed = nn.Linear(self.target_dim, config.embed_dim)
        self.layers = nn.ModuleList(GRULayer(config.embed_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.embed_dim)

    def tokenize(self, batch: Batch) -> Tokens:
        """Embed the stacked frames; the order in which they are read gives their position."""
        stacked, padding = self._stacked(batch)
        embeddings = self.embed(stacked)
        return Tokens(embeddings, torch.zeros_like(embeddings[:1]), (embeddings.shape[1],), padding)

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """Of the stacked frames."""
        return list(self.embed.parameters())

    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Read the tokens."""
        if keep is None:
            return self._run(tokens.embeddings)[-1]
        order = keep.argsort(dim=1)
        read = self._run(gathered(tokens.embeddings, keep.gather(1, order)))[-1]
        return gathered(read, order.argsort(dim=1))

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """The output of each layer; the last is normalised."""
        return self._run(tokens.embeddings)

    def targets(self, batch: Batch) -> Tensor:
        """[B, N, stack * n_mels]: the standardised log-mel frames of each token."""
        with torch.no_grad():
            return self._stacked(batch)[0]

    def _stacked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B, N, stack * n_mels], and the padding [B, N]."""
        frames, padding = self.mel(batch["waveform"], batch["length"])
        frames, padding = whole_pieces(frames, padding, self.stack)
        return frames.reshape(*padding.shape, self.target_dim), padding

    def _run(self, x: Tensor) -> list[Tensor]:
        outputs: list[Tensor] = []
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            for layer in self.layers:
                read = layer(x)
                x = x + read if outputs else read
                outputs.append(x)
            return [*outputs[:-1], self.norm(x)]


RECIPE = BackboneRecipe(config=GRUConfig, build=GRUBackbone)
"""``gru``."""
