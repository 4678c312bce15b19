"""Random changes of texts, a batch at a time, on its device."""

from selfsup_text.augmentations.views import RECIPE, SUPERVISED_RECIPE, TextViews, TextViewsConfig

__all__ = ["RECIPE", "SUPERVISED_RECIPE", "TextViews", "TextViewsConfig"]
