"""The one view of an image that tasks see which compare no views: masked and latent prediction, reconstruction."""

from __future__ import annotations

from typing import Any

from selfsup.tasks import ViewsRecipe, with_defaults
from selfsup_vision.augmentations.views import ImageViewsConfig, build_views

_NO_COLORS: dict[str, Any] = {"jitter_p": 0.0, "grey_p": 0.0, "blur_p": (0.0,), "solarize_p": (0.0,)}

SINGLE_RECIPE = ViewsRecipe(
    config=with_defaults(ImageViewsConfig, {"n_global": 1, "n_local": 0, "global_scale": (0.2, 1.0), **_NO_COLORS}),
    build=build_views,
)
"""A random resized crop of 20 to 100 % of the area, width/height 3/4 to 4/3, mirrored half of the time, as MAE has it
(arXiv:2111.06377, section 4; scale and ratio in the authors' code). ``views.global_scale=[1,1]`` with ``views.flip_p=0`` shows
the whole image."""
