"""Augmentation of batches of texts, on their device."""

from selfsup_text.augmentations.views import RECIPE, SUPERVISED_RECIPE, TextViews, TextViewsConfig

__all__ = ["RECIPE", "SUPERVISED_RECIPE", "TextViews", "TextViewsConfig"]
