"""How Mockingjay and TERA alter the frames of a spectrogram: along time, along frequency, in magnitude."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.tasks import TokenMask, gather_tokens, span_mask


class AlterationConfig(Config):
    """Options of :func:`alter_frames`; the defaults are Mockingjay's, which alters along time alone."""

    time_share: float = Field(0.15, gt=0, lt=1)
    """Share of the tokens that spans altered along time would cover without overlap; 0.15 in both papers."""
    span: int = Field(7, ge=1)
    """Tokens of such a span; 7 in both papers."""
    zero_share: float = Field(0.8, ge=0, le=1)
    """Probability that a clip's spans become zeros, the mean of the clip; 0.8 in both papers."""
    random_share: float = Field(0.1, ge=0, le=1)
    """Probability that they become other tokens of the clip; 0.1 in both papers. Otherwise they stay as they are."""
    frequency_share: float = Field(0.0, ge=0, lt=1)
    """Largest share of the bands that is zeroed in the whole clip, side by side, uniform from 0 on; 0.2 in TERA's code."""
    noise_probability: float = Field(0.0, ge=0, le=1)
    """Probability that a clip gets Gaussian noise; 0.15 in TERA, 0 in Mockingjay."""
    noise_std: float = Field(0.2, gt=0)
    """Standard deviation of that noise, in those of the standardised frames; 0.2 in TERA."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.zero_share + self.random_share > 1:
            raise ValueError(f"zero_share={self.zero_share} and random_share={self.random_share} are more than 1 together")
        return self

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("alteration.noise_probability is 0", self.noise_probability == 0, "noise_std")


class Altered(NamedTuple):
    """Altered frames, and the tokens that were chosen along time."""

    frames: Tensor
    """[B, N, r, M]."""
    mask: TokenMask
    """The tokens of the spans, unchanged ones included."""


def alter_frames(frames: Tensor, padding: Tensor, config: AlterationConfig, generator: torch.Generator | None) -> Altered:
    """Alter standardised log-mel frames (Liu et al. 2019, arXiv 1910.12638, section 2.2; 2020, arXiv 2007.06028, section III).

    As in the authors' code, one random number per clip decides between zeros, random frames and no change.

    Args:
        frames: [B, N, r, M]: N tokens of r frames of M bands, with zero mean.
        padding: [B, N] bool, at the end.
        config: the probabilities.
        generator: source of the draws.
    """
    B, N, _, M = frames.shape
    device = frames.device
    mask = span_mask(
        B, (N,), config.time_share / config.span, config.span, min_spans=1, padding=padding, generator=generator
    )  # fmt: skip
    die, place, noisy, band, first = torch.rand(5, B, N, generator=generator, device=device).unbind(0)
    real = (~padding).sum(dim=1, keepdim=True)
    other = gather_tokens(frames, torch.minimum((place * real).long(), real - 1).clamp(min=0))
    die, chosen = die[:, 0].view(B, 1, 1, 1), mask.mask.view(B, N, 1, 1)
    altered = torch.where(chosen & (die < config.zero_share + config.random_share), other, frames)
    altered = altered.masked_fill(chosen & (die < config.zero_share), 0.0)
    if config.frequency_share:
        width = (band[:, :1] * (int(config.frequency_share * M) + 1)).long()
        start = (first[:, :1] * (M - width + 1)).long()
        number = torch.arange(M, device=device)
        gone = (number >= start) & (number < start + width)
        altered = altered.masked_fill(gone.view(B, 1, 1, M), 0.0)
    if config.noise_probability:
        noise = torch.randn(frames.shape, generator=generator, device=device, dtype=frames.dtype) * config.noise_std
        altered = altered + noise * (noisy[:, 0] < config.noise_probability).view(B, 1, 1, 1)
    return Altered(altered, mask)
