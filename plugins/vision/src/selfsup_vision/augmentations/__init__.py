"""Batched random views of images, on the device, each sample with its own parameters."""

from selfsup_vision.augmentations.views import ImageViews, ImageViewsConfig, ShiftViews, ShiftViewsConfig

__all__ = ["ImageViews", "ImageViewsConfig", "ShiftViews", "ShiftViewsConfig"]
