"""Batched random views of videos, on the device, alike in all frames of a view."""

from selfsup_video.augmentations.supervised import SUPERVISED_RECIPE, SupervisedViewsConfig
from selfsup_video.augmentations.views import RECIPE, VideoViews, VideoViewsConfig

__all__ = ["RECIPE", "SUPERVISED_RECIPE", "SupervisedViewsConfig", "VideoViews", "VideoViewsConfig"]
