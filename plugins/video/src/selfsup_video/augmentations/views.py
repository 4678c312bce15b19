"""The default views of videos, those of CVRL: windows of time, with the same changes in all frames."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.tasks import Views, ViewsRecipe
from selfsup.types import Batch, Info
from selfsup_images.color import recolor_
from selfsup_images.crop import box_locations
from selfsup_images.pipeline import ViewOptions, draw, make_view
from selfsup_images.view_config import CropAndColorConfig, Probability, Range
from selfsup_video.augmentations.windows import Interval, draw_places
from selfsup_video.clips import Window, clip_shape, real_frames, take_frames, window_index
from selfsup_video.sizes import local_size_for, window_for


class VideoViewsConfig(CropAndColorConfig):
    """Options of :class:`VideoViews`; the defaults are CVRL's (Qian et al. 2020, arXiv:2008.03800) unless another is named."""

    frames: int | None = Field(None, ge=1)
    """Frames of a global view; None: half a clip of the processor (the paper takes 16 frames from videos of ten seconds)."""
    local_frames: int | None = Field(None, ge=1)
    """Frames of a local view; None: half of those of a global one."""
    spacing: int = Field(1, ge=1)
    """Kept frames from one frame of a view to the next; 1 of the processor's, whose stride is 2 as in the paper."""
    interval: Interval = "independent"
    """Place of views: anywhere in any clip, or in one clip at a distance of decreasing density (the paper's best) or
    uniform."""
    global_scale: Range = (0.3, 1.0)
    """Smallest and largest area of a global crop, as a fraction of the image; 0.3..1 in the paper."""
    local_scale: Range = (0.05, 0.3)
    """Smallest and largest area of a local crop; below the global ones, as in DINO."""
    ratio: Range = (0.5, 2.0)
    """Smallest and largest width/height of a crop; 0.5..2 in the paper."""
    jitter_strength: float = Field(1.0, ge=0)
    """Factor on the four amounts of jitter; 1 in the authors' code."""
    blur_p: Probability = 0.5
    """Probability of Gaussian blur; 0.5 in the authors' code."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return {
            **super().without_effect(),
            **idle("views.n_local is 0", self.n_local == 0, "local_frames"),
            **idle("views.blur_p is 0", self.blur_p == 0, "blur_sigma", "blur_min_size"),
        }


class VideoViews(Views):
    """Random views of a batch of videos, on its device, with own parameters per sample and the same for all frames of a view.

    A window lies in the real frames of a clip. A view holds ``video`` (float32 [B, L, 3, S, S] in 0..1), ``crop`` (see
    :class:`selfsup.tasks.Views`; axes time, y, x), and for videos shorter than a clip ``length`` ([B] long), the number of real
    frames of the view. A fixed number of samples in a batch is blurred (each sample with the stated probability).
    """

    compilable = ("recolor",)
    recolor = staticmethod(recolor_)

    def __init__(self, config: VideoViewsConfig, info: Info) -> None:
        super().__init__()
        self.config, self.info = config, dict(info)
        self.n_global, self.n_local = config.n_global, config.n_local
        size = config.global_size or int(info["image_size"])
        frames = config.frames or window_for(int(info["frames"]))
        local_size, local_frames = config.local_size or local_size_for(size), config.local_frames or window_for(frames)
        blur_p = config.blur_p if size >= config.blur_min_size else 0.0
        large, small = (
            config.options(side, scale, strength=config.jitter_strength, blur_p=blur_p)
            for side, scale in ((size, config.global_scale), (local_size, config.local_scale))
        )
        self.views = [(frames, large)] * self.n_global + [(local_frames, small)] * self.n_local

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views of ``batch["video"]`` ([B, T, 3, H, W], uint8 or float in 0..1), then ``n_local`` smaller ones."""
        video = batch["video"]
        n, total = int(video.shape[0]), int(video.shape[1])
        clips, frames = clip_shape(video, self.info)
        clip, place = draw_places(n, len(self.views), clips, self.config.interval, generator, video.device)
        made, real = [], real_frames(batch)
        for number, (length, options) in enumerate(self.views):
            window = window_index(
                n, clips, frames, length, generator,
                spacing=self.config.spacing, place=place[number], clip=clip[number], real=real,
                device=video.device,
            )  # fmt: skip
            made.append(self._view(video, window, length * self.config.spacing / total, options, generator))
        return made

    def _view(
        self, video: Tensor, window: Window, duration: float, options: ViewOptions, generator: torch.Generator | None
    ) -> Batch:
        """One view of the frames of a window, which last ``duration`` (1: all T frames)."""
        index = window.places
        shape = (int(video.shape[3]), int(video.shape[4]))
        drawn = draw(options, video.shape[0], shape, generator, video.device)
        view = make_view(take_frames(video, index).transpose(1, 2), options, drawn, recolor=self.recolor)
        start = index[:, :1] / video.shape[1]
        time = torch.stack([start, torch.full_like(start, duration)], dim=2)
        crop = torch.cat([time, box_locations(drawn.boxes, shape, drawn.flip)], dim=1)
        made = {"video": view.transpose(1, 2), "crop": crop}
        return made if window.real is None else {**made, "length": window.real}


RECIPE = ViewsRecipe(config=VideoViewsConfig, build=VideoViews)
"""The default views of videos."""


class SupervisedViewsConfig(Config):
    """Options of the views of supervised training."""

    n_global: int = Field(1, ge=1)
    """Views of each video; supervised training takes one."""
    n_local: int = Field(0, ge=0, le=0)
    """There are no local views."""
    frames: int | None = Field(None, ge=1)
    """Frames of a view; None: one whole clip."""
    scale: Range = (0.6, 1.0)
    """Smallest and largest area of a crop, as a fraction of the image."""
    ratio: Range = (3 / 4, 4 / 3)
    """Smallest and largest width/height of a crop."""
    flip_p: Probability = 0.0
    """Probability of a mirrored view. 0, since labels may depend on left and right; otherwise 0.5 is usual."""


def build_supervised_views(config: SupervisedViewsConfig, info: Info) -> VideoViews:
    """Build the views of supervised training."""
    views = VideoViewsConfig(
        n_global=config.n_global,
        frames=config.frames or int(info["frames"]),
        global_scale=config.scale,
        ratio=config.ratio,
        flip_p=config.flip_p,
        jitter_p=0.0,
        grey_p=0.0,
        blur_p=0.0,
    )
    return VideoViews(views, info)


SUPERVISED_RECIPE = ViewsRecipe(config=SupervisedViewsConfig, build=build_supervised_views)
"""The light augmentation of supervised training."""
