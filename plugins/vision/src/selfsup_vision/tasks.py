"""The recipes of vision tasks: what the papers do otherwise than the objective and the default views do by themselves.

Blur and the halved jitter follow the image size as in :class:`selfsup_vision.augmentations.ImageViewsConfig`, in every recipe.
"""

from __future__ import annotations

from typing import Any

from selfsup.objectives.barlow_twins import RECIPE as BARLOW_TWINS_OBJECTIVE
from selfsup.objectives.byol import RECIPE as BYOL_OBJECTIVE
from selfsup.objectives.dino import RECIPE as DINO_OBJECTIVE
from selfsup.objectives.lejepa import RECIPE as LEJEPA_OBJECTIVE
from selfsup.objectives.moco import MOCOV2 as MOCOV2_OBJECTIVE
from selfsup.objectives.moco import MOCOV3 as MOCOV3_OBJECTIVE
from selfsup.objectives.nt_xent import RECIPE as SIMCLR_OBJECTIVE
from selfsup.objectives.simsiam import RECIPE as SIMSIAM_OBJECTIVE
from selfsup.objectives.swav import RECIPE as SWAV_OBJECTIVE
from selfsup.objectives.vicreg import RECIPE as VICREG_OBJECTIVE
from selfsup.objectives.vicregl import RECIPE as VICREGL_OBJECTIVE
from selfsup.tasks.augmented import augmented
from selfsup.tasks.joint_embedding.task import joint_embedding_recipe
from selfsup.tasks.latent import data2vec_recipe, ijepa_recipe
from selfsup.tasks.masked.masked_modeling import masked_recipe
from selfsup.tasks.reconstruction import reconstruction_recipe
from selfsup.tasks.transformation import transformation_recipe
from selfsup_vision.augmentations.single import SINGLE_RECIPE as SINGLE_VIEW
from selfsup_vision.augmentations.views import RECIPE as VIEWS
from selfsup_vision.augmentations.views import SUPERVISED_RECIPE as SHIFT_VIEW
from selfsup_vision.corruptions.colorization import RECIPE as COLORIZATION_CORRUPTION
from selfsup_vision.corruptions.inpainting import RECIPE as INPAINTING_CORRUPTION
from selfsup_vision.corruptions.noise import RECIPE as NOISE_CORRUPTION
from selfsup_vision.transformations.jigsaw import JigsawConfig, build_jigsaw
from selfsup_vision.transformations.patch_position import PatchPositionConfig, build_patch_position
from selfsup_vision.transformations.rotation import RotationConfig, build_rotation

_BYOL_COLORS: dict[str, Any] = {
    "jitter_strength": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
}  # fmt: skip
_ASYMMETRIC: dict[str, Any] = {**_BYOL_COLORS, "blur_p": (1.0, 0.1), "solarize_p": (0.0, 0.2)}
"""The two unlike augmentations of BYOL (arXiv:2006.07733, table 6), which Barlow Twins, MoCo v3 and DINO took over."""
_MOCOV2: dict[str, Any] = {
    "global_scale": (0.2, 1.0),
    "jitter_strength": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
}  # fmt: skip
"""MoCo v2's augmentations (arXiv:2003.04297), which SimSiam took over."""

SIMCLR = joint_embedding_recipe(SIMCLR_OBJECTIVE, VIEWS)
MOCOV2 = joint_embedding_recipe(MOCOV2_OBJECTIVE, VIEWS, view_defaults=_MOCOV2)
MOCOV3 = joint_embedding_recipe(MOCOV3_OBJECTIVE, VIEWS, view_defaults=_ASYMMETRIC)
BYOL = joint_embedding_recipe(BYOL_OBJECTIVE, VIEWS, view_defaults=_ASYMMETRIC)
SIMSIAM = joint_embedding_recipe(SIMSIAM_OBJECTIVE, VIEWS, view_defaults=_MOCOV2)
BARLOW_TWINS = joint_embedding_recipe(BARLOW_TWINS_OBJECTIVE, VIEWS, view_defaults=_ASYMMETRIC)
VICREG = joint_embedding_recipe(VICREG_OBJECTIVE, VIEWS, view_defaults={**_BYOL_COLORS, "solarize_p": (0.1,)})
VICREGL = joint_embedding_recipe(VICREGL_OBJECTIVE, VIEWS, view_defaults=_ASYMMETRIC)
SWAV = joint_embedding_recipe(SWAV_OBJECTIVE, VIEWS, view_defaults={"global_scale": (0.14, 1.0), "local_scale": (0.05, 0.14)})
DINO = joint_embedding_recipe(
    DINO_OBJECTIVE, VIEWS, view_defaults={**_ASYMMETRIC, "global_scale": (0.4, 1.0), "local_scale": (0.05, 0.4)}
)
LEJEPA = joint_embedding_recipe(
    LEJEPA_OBJECTIVE,
    VIEWS,
    view_defaults={"global_scale": (0.3, 1.0), "local_scale": (0.05, 0.3), "solarize_p": (0.2,)},
)

MAE = masked_recipe("mae", views=SINGLE_VIEW)
SIMMIM = masked_recipe("simmim", views=SINGLE_VIEW, view_defaults={"global_scale": (0.67, 1.0)})
"""SimMIM crops 67 to 100 % of the area (arXiv:2111.09886, section 4.1)."""
IJEPA = ijepa_recipe(views=SINGLE_VIEW, view_defaults={"global_scale": (0.3, 1.0), "flip_p": 0.0})
"""I-JEPA crops 30 to 100 % of the area and does not mirror (the authors' configuration for ImageNet)."""
DATA2VEC = data2vec_recipe(
    views=SINGLE_VIEW,
    view_defaults={
        "global_scale": (0.08, 1.0),
        "jitter_p": 1.0, "jitter_strength": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.0,
    },
)  # fmt: skip
"""data2vec crops, mirrors and jitters colours as BEiT does (arXiv:2202.03555, section 4.1; amounts in BEiT's code). Teacher and
student see the same view."""

_WINDOW: dict[str, Any] = {"padding": 0.0, "flip_p": 0.0}
"""A window of a whole image at a random place: pixels as they are, and nothing beyond the image."""

DENOISING_AUTOENCODER = augmented(reconstruction_recipe(NOISE_CORRUPTION), SHIFT_VIEW, _WINDOW)
INPAINTING = augmented(reconstruction_recipe(INPAINTING_CORRUPTION), SINGLE_VIEW)
"""Context encoders are trained on random crops, mirrored half of the time (the authors' code)."""
COLORIZATION = augmented(
    reconstruction_recipe(COLORIZATION_CORRUPTION), SINGLE_VIEW, {"global_scale": (0.47, 1.0), "ratio": (1.0, 1.0)}
)
"""Colourful colorization is trained on crops of 176 of 256 pixels, 47 % of the area, mirrored half of the time (the authors'
code); here crops of that size up to the whole image, which is what is evaluated."""

ROTATION = augmented(
    transformation_recipe(
        RotationConfig,
        build_rotation,
        optimization={"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128},
    ),
    SHIFT_VIEW,
)
"""RotNet shifts each image by up to an eighth of its side and mirrors half of them before it turns them (the authors' code)."""
PATCH_POSITION = augmented(
    transformation_recipe(
        PatchPositionConfig, build_patch_position, optimization={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0}
    ),
    SHIFT_VIEW,
    _WINDOW,
)
JIGSAW = augmented(
    transformation_recipe(
        JigsawConfig,
        build_jigsaw,
        optimization={"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        head_dims=(4096,),
        dropout=0.5,
    ),
    SHIFT_VIEW,
    _WINDOW,
)
"""The paper crops 225 pixels of 256 at a random place. Crops that are resized would show by their blur which tile is which."""
