"""How fast is a video played?"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, Transformed
from selfsup.tasks.transformation import balanced_labels
from selfsup.types import Batch, Info
from selfsup_video.clips import clip_shape, random_window


class PlaybackSpeedConfig(Config):
    """Options of :class:`PlaybackSpeed`."""

    paces: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 3, 4)
    """Speeds that are told apart, in kept frames from one seen to the next; 1 to 4 in the paper."""
    length: int | None = Field(None, ge=2)
    """Frames that are seen; None: as many as a clip has at the highest speed; 16 in the paper."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if len(self.paces) < 2 or any(a >= b for a, b in zip(self.paces, self.paces[1:], strict=False)):
            raise ValueError(f"paces={self.paces}: name two or more different speeds, from the lowest to the highest")
        return self


class PlaybackSpeed(Transformation):
    """Pace prediction (Wang et al. 2020, arXiv:2008.05861, section 3.1), and SpeedNet with two speeds (Benaim et al. 2020,
    arXiv:2004.06130).

    Every sample is seen for the same number of frames, at one of the speeds. The first frame is anywhere in the clip that
    leaves room for all. The paper adds a contrastive loss between paces of one video, which is not here.

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
        length = self._frames_for(clip_shape(video, self.info)[1])
        label = balanced_labels(video.shape[0], self.n_outputs, generator, video.device)
        window = random_window(video, self.info, length, generator, spacing=self.paces[label])
        return Transformed({"video": window}, label)

    def _frames_for(self, frames: int) -> int:
        """Frames that are seen of a clip of ``frames``."""
        length = self.length or (frames - 1) // self.highest + 1
        if length < 2 or (length - 1) * self.highest >= frames:
            raise ConfigError(
                f"{max(length, 2)} frames at a pace of {self.highest} do not fit into a clip of {frames}: lower "
                "transformation.paces or transformation.length, or set processor.frames higher."
            )
        return length
