"""Predict the playback speed of a video."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, TransformationRecipe, Transformed, balanced_labels
from selfsup.types import Batch, Info
from selfsup_video.clips import clip_shape, real_frames, take_frames


class PlaybackSpeedConfig(Config):
    """Options of :class:`PlaybackSpeed`."""

    paces: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 3, 4)
    """Speeds to classify, in kept frames from one seen to the next; 1 to 4 in the paper."""
    length: int | None = Field(None, ge=2)
    """Frames that are shown; None: as many as a clip has at the highest speed; 16 in the paper."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if len(self.paces) < 2 or any(a >= b for a, b in zip(self.paces, self.paces[1:], strict=False)):
            raise ValueError(f"paces={self.paces}: name two or more different speeds, from the lowest to the highest")
        return self


class PlaybackSpeed(Transformation):
    """Pace prediction (Wang et al. 2020, arXiv:2008.05861, section 3.1), and SpeedNet with two speeds (Benaim et al. 2020,
    arXiv:2004.06130).

    Every sample shows the same number of frames, at one of the speeds. The middle of the window is drawn from the places where
    the highest speed fits, whatever the speed is: otherwise the place of the window would predict its speed (less so in the
    paper's videos of ten seconds). Videos that are too short for the highest speed are left out. The paper's contrastive loss
    between paces of one video is not included.

    Raises:
        ConfigError: a clip is too short for the highest speed.
    """

    kind = "class"
    paces: torch.Tensor

    def __init__(self, config: PlaybackSpeedConfig, info: Info) -> None:
        super().__init__()
        self.n_outputs = len(config.paces)
        self.length, self.highest, self.info = config.length, config.paces[-1], info
        self.register_buffer("paces", torch.tensor(config.paces), persistent=False)
        self._frames_for(int(info["frames"]))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, T, 3, S, S] to [B, length, 3, S, S]; the label is the place of the speed in ``paces``."""
        video = batch["video"]
        B, device = video.shape[0], video.device
        clips, frames = clip_shape(video, self.info)
        length = self._frames_for(frames)
        label = balanced_labels(B, self.n_outputs, generator, device)
        real = real_frames(batch)
        index = self._windows(label, length, frames if real is None else real.clamp(max=frames), generator)
        clip = torch.randint(clips, (B, 1), generator=generator, device=device)
        seen = take_frames(video, clip * frames + index.clamp(0, frames - 1))
        weight = None if real is None else (real > (length - 1) * self.highest).float()
        return Transformed({"video": seen}, label, weight)

    def _windows(self, label: Tensor, length: int, frames: int | Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, length] long, places in a clip of ``frames`` (of all, or [B] long), around one middle at every speed.

        A window without a middle frame is shifted by half a frame, earlier or later with equal probability.
        """
        B, device = len(label), label.device
        # In half frames, so that all numbers are whole.
        reach = (length - 1) * self.highest
        room = torch.as_tensor(frames, device=device) - 1 - reach
        drawn = (torch.rand(B, generator=generator, device=device) * (room + 1)).long().clamp(min=0)
        middle = 2 * torch.minimum(drawn, room.clamp(min=0)) + reach
        pace = self.paces[label]
        half = (torch.rand(B, generator=generator, device=device) < 0.5).long()
        start = (middle - (length - 1) * pace + half).div(2, rounding_mode="floor")
        return start.unsqueeze(1) + torch.arange(length, device=device) * pace.unsqueeze(1)

    def _frames_for(self, frames: int) -> int:
        """Frames that are shown of a clip of ``frames``."""
        length = self.length or (frames - 1) // self.highest + 1
        if length < 2 or (length - 1) * self.highest >= frames:
            raise ConfigError(
                f"{max(length, 2)} frames at a pace of {self.highest} do not fit into a clip of {frames}: lower "
                "transformation.paces or transformation.length, or set processor.frames higher."
            )
        return length


RECIPE = TransformationRecipe(config=PlaybackSpeedConfig, build=PlaybackSpeed)
"""The transformation of ``video/playback-speed``."""
