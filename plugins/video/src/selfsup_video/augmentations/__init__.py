"""Batched random views of videos, on the device, the same in all frames of a view."""

from selfsup_video.augmentations.views import (
    RECIPE,
    SUPERVISED_RECIPE,
    SupervisedViewsConfig,
    VideoViews,
    VideoViewsConfig,
)

__all__ = ["RECIPE", "SUPERVISED_RECIPE", "SupervisedViewsConfig", "VideoViews", "VideoViewsConfig"]
