"""Predict whether a video runs forwards or backwards."""

from __future__ import annotations

import torch
from pydantic import Field

from selfsup.config import Config
from selfsup.tasks import Transformation, TransformationRecipe, Transformed, balanced_labels
from selfsup.types import Batch, Info
from selfsup_video.clips import clip_shape, random_window, real_frames


class ArrowOfTimeConfig(Config):
    """Options of :class:`ArrowOfTime`."""

    length: int | None = Field(None, ge=2)
    """Frames that are seen; None: a whole clip; ten pairs of frames of optical flow in the paper."""


class ArrowOfTime(Transformation):
    """The arrow of time (Wei et al. 2018, CVPR, "Learning and using the arrow of time").

    A window runs forwards (label 0) or backwards (1), each in half of a batch. The paper uses optical flow without black
    borders and camera motion, which give the direction of some films away; here the input is the pixels. A video of fewer
    frames than ``length`` is seen whole; one of a single frame is left out.
    """

    kind = "class"
    n_outputs = 2

    def __init__(self, config: ArrowOfTimeConfig, info: Info) -> None:
        super().__init__()
        self.length, self.info = config.length, info

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, T, 3, S, S] to [B, length, 3, S, S]."""
        video = batch["video"]
        length = self.length or clip_shape(video, self.info)[1]
        window = random_window(video, self.info, length, generator, real=real_frames(batch))
        label = balanced_labels(video.shape[0], 2, generator, video.device)
        backwards = (label == 1).unsqueeze(1)
        if window.real is None:
            index = torch.where(backwards, window.places.flip(1), window.places)
            return Transformed(window._replace(places=index).of(video), label)
        # Only the real frames are reversed; padding stays after them.
        last = window.real.unsqueeze(1) - 1
        place = torch.arange(length, device=video.device).clamp(max=last)
        index = window.places.gather(1, torch.where(backwards, last - place, place))
        return Transformed(window._replace(places=index).of(video), label, (window.real > 1).float())


RECIPE = TransformationRecipe(config=ArrowOfTimeConfig, build=ArrowOfTime)
"""The transformation of ``video/arrow-of-time``."""
