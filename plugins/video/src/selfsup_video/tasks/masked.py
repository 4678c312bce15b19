"""Tasks that hide tubelets: VideoMAE and V-JEPA, each on one random crop of a clip, alike in all frames."""

from __future__ import annotations

from selfsup.tasks.latent import vjepa_recipe
from selfsup.tasks.masked.masked_modeling import masked_recipe
from selfsup_video.augmentations.supervised import SUPERVISED_RECIPE as CLIP_VIEWS

VIDEOMAE = masked_recipe(
    "mae",
    mask_ratio=0.9,
    tube=True,
    decoder_depth=4,
    views=CLIP_VIEWS,
    view_defaults={"scale": (0.44, 1.0)},
)
"""MAE with tubes (Tong et al. 2022, arXiv:2203.12602). Its crops have sides of 0.66 to 1, as in the authors' code, in steps."""

VJEPA = vjepa_recipe(views=CLIP_VIEWS, view_defaults={"scale": (0.3, 1.0), "ratio": (0.75, 1.35), "flip_p": 0.5})
"""V-JEPA (Bardes et al. 2024, arXiv:2404.08471) with the crops of the authors' configuration."""
