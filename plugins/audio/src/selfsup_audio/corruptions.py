"""Denoising: add noise to the waveform and predict the clean spectrogram."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfsup.backbones import Backbone, Encoded
from selfsup.config import Config, idle
from selfsup.errors import ConfigError
from selfsup.runtime import evaluation_mode
from selfsup.tasks import Corrupted, Corruption, CorruptionRecipe, Term, mean_term
from selfsup.types import Batch, Info
from selfsup_audio.augmentations.mixing import add_noise
from selfsup_audio.spectra import LogMel, LogMelConfig
from selfsup_audio.waveforms import to_float


class NoiseConfig(Config):
    """Options of :class:`Noise`."""

    kind: Literal["gaussian", "masking"] = "gaussian"
    """White noise on all of the waveform, or silence in random pieces of it; masking in Vincent et al. 2008, both in 2010."""
    snr: tuple[float, float] = (-5.0, 15.0)
    """Least and greatest ratio of recording to white noise in decibels."""
    amount: float = Field(0.25, gt=0, lt=1)
    """Share of pieces that is silenced; 0.25 in Vincent et al."""
    piece_seconds: float = Field(0.05, gt=0, le=10)
    """Length of a piece in seconds; single inputs in the paper."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        why = f"corruption.kind is {self.kind}"
        return {
            **idle(why, self.kind != "gaussian", "snr"),
            **idle(why, self.kind != "masking", "amount", "piece_seconds"),
        }


class Noise(Corruption):
    """Denoising (Vincent et al. 2008, ICML; 2010, JMLR 11), with squared error on log-mel energies, each clip standardised."""

    def __init__(self, config: NoiseConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.info = dict(info)
        self.piece = max(round(config.piece_seconds * int(info["sample_rate"])), 1)
        self.mel = LogMel(LogMelConfig(), int(info["sample_rate"]))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """The target is the clean spectrogram [B, F, 64]; padding has weight 0."""
        clean, length = to_float(batch["waveform"]), batch["length"]
        target, padding = self.mel(clean, length)
        if self.config.kind == "gaussian":
            corrupted = add_noise(clean, length, self.config.snr, 1.0, generator=generator)
        else:
            pieces = -(-clean.shape[1] // self.piece)
            heard = torch.rand((clean.shape[0], pieces), generator=generator, device=clean.device) >= self.config.amount
            corrupted = clean * heard.repeat_interleave(self.piece, dim=1)[:, : clean.shape[1]]
        return Corrupted({**batch, "waveform": corrupted}, target, (~padding).float())

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """A linear layer from the tokens of each time to its frames."""
        n_samples = int(self.info["n_samples"])
        return FrameDecoder(backbone, n_samples, self.mel.n_frames(n_samples), self.mel.config.n_mels)

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Mean squared error over the real frames, in float32."""
        error = (prediction.float() - corrupted.target).square().mean(dim=-1)
        return mean_term(error, corrupted.weight)


class FrameDecoder(nn.Module):
    """Decode tokens on (time,) or (time, mel) to frames; all tokens of a time together give its frames.

    Args:
        backbone: the source of the tokens.
        n_samples: samples of the clips.
        n_frames: F, of the spectrogram of such a clip.
        n_mels: bands of a frame.

    Raises:
        ConfigError: the backbone gives no tokens on a lattice that begins with time.
    """

    def __init__(self, backbone: Backbone, n_samples: int, n_frames: int, n_mels: int) -> None:
        super().__init__()
        times, tokens_each = _time_lattice(backbone, n_samples)
        self.n_frames, self.n_mels = n_frames, n_mels
        self.times = times
        self.frames_each = -(-n_frames // times)
        self.out = nn.Linear(tokens_each * backbone.embed_dim, self.frames_each * n_mels)

    def forward(self, encoded: Encoded) -> Tensor:
        """[B, F, n_mels]."""
        if encoded.tokens is None:
            raise ConfigError("the decoder needs tokens, and this batch was encoded without any.")
        together = encoded.tokens.reshape(encoded.tokens.shape[0], self.times, -1)
        frames: Tensor = self.out(together).view(together.shape[0], -1, self.n_mels)
        return frames[:, : self.n_frames]


def _time_lattice(backbone: Backbone, n_samples: int) -> tuple[int, int]:
    """Number of times, and of tokens at each, found by encoding a clip of silence; the backbone does not change."""
    device = next(backbone.parameters()).device
    silence = {
        "waveform": torch.zeros(1, n_samples, device=device),
        "length": torch.full((1,), n_samples, dtype=torch.long, device=device),
    }
    with evaluation_mode(backbone):
        encoded = backbone(silence)
    if encoded.tokens is None or encoded.grid is None:
        raise ConfigError(
            f"denoising decodes frames from tokens, and {type(backbone).__name__} has none: choose another backbone, for "
            "example mel-cnn or mel-vit."
        )
    return int(encoded.grid[0]), int(encoded.tokens.shape[1]) // int(encoded.grid[0])


RECIPE = CorruptionRecipe(config=NoiseConfig, build=Noise)
"""Denoising of recordings."""
