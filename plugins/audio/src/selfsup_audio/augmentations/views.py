"""The default views of recordings: windows in time, speed, mixup, equaliser, noise and gain."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.tasks import Views, ViewsRecipe
from selfsup.types import Batch, Info
from selfsup_audio.augmentations.equalizer import equalize
from selfsup_audio.augmentations.mixing import add_noise, change_gain, mix_with_others
from selfsup_audio.augmentations.windows import locations, random_segments, random_windows, read_windows
from selfsup_audio.waveforms import to_float

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]
_FASTEST = 4.0


class AudioViewsConfig(Config):
    """Options of :class:`AudioViews`; the paper is BYOL-A (Niizumi et al. 2021, arXiv:2103.06695)."""

    n_global: int = Field(2, ge=1)
    """Global views of each recording; 2 in the paper."""
    n_local: int = Field(0, ge=0)
    """Local views: short windows; 0 in the paper."""
    longest_seconds: float | None = Field(1.0, gt=0)
    """Seconds that shares refer to in longer recordings; 0.96 in the paper; None: shares of the whole recording."""
    same_segment: bool = False
    """Take all views of a recording from one random segment of ``longest_seconds``, as the paper does; else from anywhere."""
    global_share: Range = (0.6, 1.0)
    """Smallest and largest share of a recording in a global view; all of its 0.96 seconds in the paper."""
    local_share: Range = (0.2, 0.5)
    """Smallest and largest share of a recording in a local view; not in the paper."""
    speed: Range = (0.85, 1.2)
    """Slowest and fastest, time and pitch together; the paper resizes spectrograms by 0.6 to 1.5 in time and in frequency."""
    mixup: Probability = 0.4
    """Largest part of the energy that comes from another recording of the batch; 0.4 in the paper."""
    equalizer_db: float = Field(6.0, ge=0, le=60)
    """Largest change in decibels of eight frequencies; 0: none, as in the paper."""
    noise_p: Probability = 0.5
    """Probability of white noise; 0 in the paper."""
    noise_snr: Range = (10.0, 40.0)
    """Smallest and largest ratio of recording to noise in decibels; no noise in the paper."""
    gain_db: float = Field(6.0, ge=0, le=60)
    """Largest change of loudness in decibels; not in the paper. Backbones that standardise each clip undo it."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name in ("global_share", "local_share", "speed"):
            low, high = getattr(self, name)
            top = _FASTEST if name == "speed" else 1.0
            if not 1 / _FASTEST * (name == "speed") < low <= high <= top or low <= 0:
                raise ValueError(f"{name}=({low}, {high}) is no range: 0 < low <= high <= {top:g}")
        if self.noise_snr[0] > self.noise_snr[1]:
            raise ValueError(f"noise_snr={self.noise_snr} is no range: low must be at most high")
        return self

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return {
            **idle("views.n_local is 0", self.n_local == 0, "local_share"),
            **idle("views.noise_p is 0", self.noise_p == 0, "noise_snr"),
            **idle("views.longest_seconds is null", self.longest_seconds is None, "same_segment"),
        }


class SupervisedAudioViewsConfig(AudioViewsConfig):
    """Light augmentation of supervised training: one view, nearly the whole recording."""

    longest_seconds: float | None = Field(None, gt=0)
    """Seconds that shares refer to in longer recordings; None: shares of the whole recording."""
    n_global: int = Field(1, ge=1)
    """Global views of each recording; supervised training takes one."""
    global_share: Range = (0.85, 1.0)
    """Smallest and largest share of a recording in a global view."""
    speed: Range = (0.95, 1.05)
    """Slowest and fastest, in time and pitch together."""
    mixup: Probability = 0.0
    """Largest part of the energy that comes from another recording of the batch."""
    equalizer_db: float = Field(0.0, ge=0, le=60)
    """Largest change in decibels of eight frequencies; 0: none."""
    noise_p: Probability = 0.0
    """Probability of white noise."""


class AudioViews(Views):
    """Random views of a batch of recordings, on its device, each sample with its own parameters.

    A view holds ``waveform`` (float32 [B, T'], zero behind the end), ``length`` and ``crop`` (see :class:`selfsup.tasks.Views`;
    one axis, time). T' is the clip's length, or ``longest_seconds`` of it, times the largest share: all global views have one
    shape, and all local ones.

    All changes are made to the waveform, so that every backbone can use these views. They follow BYOL-A, which stretches
    spectrograms in time and in frequency separately; here both change together, as with a faster tape.
    """

    def __init__(self, config: AudioViewsConfig, info: Info) -> None:
        super().__init__()
        self.config = config
        self.n_global, self.n_local = config.n_global, config.n_local
        seconds, whole = config.longest_seconds, int(info["n_samples"])
        self._longest = whole if seconds is None else min(max(round(seconds * info["sample_rate"]), 1), whole)

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views of ``waveform`` ([B, T], int16 or float in -1..1), then ``n_local`` shorter ones."""
        waveform, length = to_float(batch["waveform"]), batch["length"]
        within = random_segments(length, self._longest, generator=generator) if self.config.same_segment else None
        shares = [self.config.global_share] * self.n_global + [self.config.local_share] * self.n_local
        return [self._view(waveform, length, within, share, generator) for share in shares]

    def _view(
        self, waveform: Tensor, length: Tensor, within: Tensor | None, share: Range, generator: torch.Generator | None
    ) -> Batch:
        config, source_samples = self.config, waveform.shape[1]
        samples = max(round(min(source_samples, self._longest) * share[1]), 1)
        windows = random_windows(length, share, config.speed, longest=self._longest, within=within, generator=generator)
        x, real = read_windows(waveform, windows, samples, resampled=config.speed != (1.0, 1.0))
        if config.mixup > 0:
            x = mix_with_others(x, real, config.mixup, generator=generator)
        if config.equalizer_db > 0:
            x = equalize(x, real, config.equalizer_db, generator=generator)
        if config.noise_p > 0:
            x = add_noise(x, real, config.noise_snr, config.noise_p, generator=generator)
        if config.gain_db > 0:
            x = change_gain(x, config.gain_db, generator=generator)
        return {"waveform": x, "length": real, "crop": locations(windows, source_samples, samples)}


RECIPE = ViewsRecipe(config=AudioViewsConfig, build=AudioViews)
"""The default views of recordings."""
SUPERVISED_RECIPE = ViewsRecipe(config=SupervisedAudioViewsConfig, build=AudioViews)
"""The light augmentation of supervised training."""
