"""The light augmentation of supervised training: a window of time and a random crop."""

from __future__ import annotations

from pydantic import Field

from selfsup.config import Config
from selfsup.tasks import ViewsRecipe
from selfsup.types import Info
from selfsup_video.augmentations.views import Probability, Range, VideoViews, VideoViewsConfig


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
    """Probability of a mirrored view. 0, as labels may speak of left and right; 0.5 is usual where they do not."""


def build_supervised_views(config: SupervisedViewsConfig, info: Info) -> VideoViews:
    """Make the views of supervised training."""
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
