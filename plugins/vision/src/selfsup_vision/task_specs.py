"""The tasks of vision that differ from what the core composes, as presets: what the papers change of objective and views.

Blur and the halved jitter follow the image size as in :class:`selfsup_vision.augmentations.ImageViewsConfig`, in every preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry import Family, TaskSpec, preset

_SHIFT = "selfsup_vision.augmentations.views:SUPERVISED_RECIPE"
"""Shifts an image by up to an eighth of its side and mirrors half of them."""
_WINDOW: dict[str, Any] = {"padding": 0.0, "flip_p": 0.0}
"""A window of a whole image at a random place, without padding or resampling."""
_BYOL_COLORS: dict[str, Any] = {
    "jitter_strength": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
}  # fmt: skip
_ASYMMETRIC: dict[str, Any] = {**_BYOL_COLORS, "blur_p": (1.0, 0.1), "solarize_p": (0.0, 0.2)}
"""The two different augmentations of BYOL (arXiv:2006.07733, table 6), which Barlow Twins, MoCo v3 and DINO use too."""
_MOCOV2: dict[str, Any] = {
    "global_scale": (0.2, 1.0),
    "jitter_strength": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
}  # fmt: skip
"""MoCo v2's augmentations (arXiv:2003.04297), which SimSiam uses too."""


def _joint(
    name: str, summary: str, paper: str, views: Mapping[str, Any] | None = None, backbone: str = "resnet-narrow"
) -> TaskSpec:
    return preset(
        name, id=f"vision/{name}", family="joint-embedding", summary=summary, paper=paper, backbone=backbone, views=views
    )  # fmt: skip


def _tokens(name: str, family: Family, summary: str, paper: str, views: Mapping[str, Any] | None = None) -> TaskSpec:
    return preset(
        name, id=f"vision/{name}", family=family, summary=summary, paper=paper, backbone="vit-tiny", needs_tokens=True,
        views=views,
    )  # fmt: skip


def _transformation(name: str, module: str, summary: str, paper: str, **defaults: Any) -> TaskSpec:
    return preset(
        id=f"vision/{name}", family="transformation", recipe=f"selfsup_vision.transformations.{module}:RECIPE",
        summary=summary, paper=paper, backbone="resnet-narrow", views_recipe=_SHIFT, **defaults,
    )  # fmt: skip


def _reconstruction(name: str, summary: str, paper: str, views: Mapping[str, Any] | None = None) -> TaskSpec:
    return preset(
        id=f"vision/{name}", family="reconstruction", recipe="selfsup.tasks:DENOISING_FAMILY",
        corruption_recipe=f"selfsup_vision.corruptions.{name}:RECIPE",
        summary=summary, paper=paper, backbone="resnet-narrow", views=views,
    )  # fmt: skip


SPECS: list[TaskSpec] = [
    # RotNet shifts each image and mirrors half of them before it rotates them (the authors' code).
    _transformation(
        "rotation", "rotation", "Predict the rotation of the image (0, 90, 180, 270 degrees).",
        "Gidaris et al. 2018, arXiv:1803.07728",
        optimization={"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128},
    ),
    _transformation(
        "patch-position", "patch_position",
        "Predict the position (x, y) of each patch of a shuffled 3x3 grid (squared error).",
        "after Doersch et al. 2015, arXiv:1505.05192",
        views=_WINDOW, optimization={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
    ),
    # The paper crops 225 pixels of 256 at a random place. Resized crops would show by their blur which tile is which.
    _transformation(
        "jigsaw", "jigsaw", "Predict the permutation of shuffled image tiles, out of a fixed set of permutations.",
        "Noroozi & Favaro 2016, arXiv:1603.09246",
        views=_WINDOW, config={"head_dims": (4096,), "dropout": 0.5},
        optimization={"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
    ),
    # Trained on crops of 176 of 256 pixels, 47 % of the area, mirrored half of the time (the authors' code); here on crops of
    # that size up to the whole image, which is what is evaluated.
    _reconstruction(
        "colorization", "Predict the colour of each pixel from its lightness, as classes of the ab plane, rebalanced.",
        "Zhang et al. 2016, arXiv:1603.08511", {"global_scale": (0.47, 1.0), "ratio": (1.0, 1.0)},
    ),
    _joint("simclr", "Contrast two augmented views of an image with all other images of the batch (NT-Xent).",
           "Chen et al. 2020, arXiv:2002.05709"),
    _joint("mocov2", "Contrast a view with the momentum encoder's other view and a queue of negatives (InfoNCE).",
           "Chen et al. 2020, arXiv:2003.04297", _MOCOV2),
    _joint("mocov3", "Contrast with a momentum encoder within the batch, without a queue; for vision transformers.",
           "Chen et al. 2021, arXiv:2104.02057", _ASYMMETRIC, backbone="vit-tiny"),
    _joint("byol", "Predict the momentum encoder's projection of the other view, without negatives.",
           "Grill et al. 2020, arXiv:2006.07733", _ASYMMETRIC),
    _joint("simsiam", "Predict the projection of the other view, with stop-gradient and without negatives.",
           "Chen & He 2020, arXiv:2011.10566", _MOCOV2),
    _joint("barlow-twins", "Make the cross-correlation matrix of two views' embeddings the identity.",
           "Zbontar et al. 2021, arXiv:2103.03230", _ASYMMETRIC),
    _joint("vicreg", "Regularise two views' embeddings: invariance, variance and covariance.",
           "Bardes et al. 2021, arXiv:2105.04906", {**_BYOL_COLORS, "solarize_p": (0.1,)}),
    _joint("vicregl", "Apply VICReg to whole images and to local features matched by location and by similarity.",
           "Bardes et al. 2022, arXiv:2210.01571", _ASYMMETRIC),
    _joint("swav", "Predict the cluster assignment of one view from the others (Sinkhorn codes, multi-crop).",
           "Caron et al. 2020, arXiv:2006.09882", {"global_scale": (0.14, 1.0), "local_scale": (0.05, 0.14)}),
    _joint("dino", "Match the output of a momentum teacher (centred, sharpened) across global and local crops.",
           "Caron et al. 2021, arXiv:2104.14294",
           {**_ASYMMETRIC, "global_scale": (0.4, 1.0), "local_scale": (0.05, 0.4)}, backbone="vit-tiny"),
    _joint("lejepa", "Align global and local crops and make embeddings an isotropic Gaussian (SIGReg), without a teacher.",
           "Balestriero & LeCun 2025, arXiv:2511.08544",
           {"global_scale": (0.3, 1.0), "local_scale": (0.05, 0.3), "solarize_p": (0.2,)}),
    preset("denoising-autoencoder", id="vision/denoising-autoencoder", family="reconstruction", backbone="resnet-narrow",
           summary="Reconstruct the clean image from a noisy one.", paper="Vincent et al. 2008, ICML",
           views_recipe=_SHIFT, views=_WINDOW),
    # Context encoders are trained on random crops, mirrored half of the time (the authors' code).
    _reconstruction("inpainting", "Reconstruct masked regions from their surroundings by squared error (context encoder).",
                    "Pathak et al. 2016, arXiv:1604.07379"),
    _tokens("mae", "masked-modeling", "Encode 25 % of the patches and reconstruct the pixels of the masked ones.",
            "He et al. 2021, arXiv:2111.06377"),
    # Crops of 67 to 100 % of the area (arXiv:2111.09886, section 4.1).
    _tokens("simmim", "masked-modeling", "Replace patches by mask tokens and predict their pixels with a linear head.",
            "Xie et al. 2021, arXiv:2111.09886", {"global_scale": (0.67, 1.0)}),
    # Crops of 30 to 100 % of the area, not mirrored (the authors' configuration for ImageNet).
    _tokens("ijepa", "latent-prediction", "Predict a momentum teacher's representations of target blocks from a context block.",
            "Assran et al. 2023, arXiv:2301.08243", {"global_scale": (0.3, 1.0), "flip_p": 0.0}),
    # Crops, mirrors and jitters colours as BEiT does (arXiv:2202.03555, section 4.1; amounts in BEiT's code). Teacher and
    # student see the same view.
    _tokens("data2vec", "latent-prediction", "Predict a momentum teacher's averaged top layers at masked patches.",
            "Baevski et al. 2022, arXiv:2202.03555",
            {"global_scale": (0.08, 1.0), "jitter_p": 1.0, "jitter_strength": 1.0,
             "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.0}),
]  # fmt: skip
"""What the core composes by itself (dcl, tico, clip, ...) is not among them."""
