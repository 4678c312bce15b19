"""The tasks of video that differ from what the core composes, as presets.

All but CVRL see one random crop of a clip, the same in all frames. Tasks that predict a change of time use AdamW at one rate
instead of the papers' SGD, which ran for hundreds of epochs.
"""

from __future__ import annotations

from typing import Any

from selfsup.registry import TaskSpec, preset

_CROP = "selfsup_video.augmentations:SUPERVISED_RECIPE"


def _transformation(name: str, summary: str, paper: str, **head: Any) -> TaskSpec:
    return preset(
        id=f"video/{name}",
        family="transformation",
        recipe=f"selfsup_video.transformations.{name.replace('-', '_')}:RECIPE",
        summary=summary,
        paper=paper,
        backbone="conv3d-small",
        views_recipe=_CROP,
        views={"flip_p": 0.5},
        config=head,
        optimization={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "warmup_fraction": 0.05},
    )


SPECS: list[TaskSpec] = [
    _transformation("frame-order", "Predict the permutation of shuffled frames, or verify whether they are in order.",
                    "Lee et al. 2017, arXiv:1708.01246; Misra et al. 2016, arXiv:1603.08561"),
    _transformation("clip-order", "Predict the permutation of shuffled clips, each encoded separately.",
                    "Xu et al. 2019, CVPR, Self-supervised spatiotemporal learning via video clip order prediction",
                    head_dims=(512,), dropout=0.5),
    _transformation("arrow-of-time", "Predict whether the video plays forwards or backwards.",
                    "Wei et al. 2018, CVPR, Learning and using the arrow of time"),
    _transformation("playback-speed", "Predict the playback speed of the clip.", "Wang et al. 2020, arXiv:2008.05861"),
    # NT-Xent on windows whose distance in time has a falling density, with the optimizer of the authors' configuration (0.32 at
    # a batch of 1024).
    preset("simclr", id="video/cvrl", family="joint-embedding", title="CVRL", backbone="conv3d-small",
           summary="Contrast two windows of a video, closer ones more often, with windows of other videos (NT-Xent).",
           paper="Qian et al. 2020, arXiv:2008.03800", views={"interval": "decreasing"},
           optimization={"optimizer": "sgd", "base_lr": 0.08, "momentum": 0.9, "weight_decay": 1e-6, "warmup_epochs": 5}),
    # MAE with tubes. Its crops have sides of 0.66 to 1, as in the authors' code, in steps.
    preset("mae", id="video/videomae", family="masked-modeling", title="VideoMAE", backbone="video-vit-small",
           needs_tokens=True, summary="Mask 90 % of the places in all frames (tubes) and reconstruct their pixels.",
           paper="Tong et al. 2022, arXiv:2203.12602", views_recipe=_CROP, views={"scale": (0.44, 1.0)},
           config={"mask_ratio": 0.9, "tube": True, "decoder_depth": 4}),
    # The crops of the authors' configuration.
    preset(id="video/vjepa", family="latent-prediction", title="V-JEPA", backbone="video-vit-small", needs_tokens=True,
           recipe="selfsup.tasks:VJEPA_FAMILY",
           summary="Predict a momentum teacher's representations of blocks masked in all frames (many small, few large).",
           paper="Bardes et al. 2024, arXiv:2404.08471", views_recipe=_CROP,
           views={"scale": (0.3, 1.0), "ratio": (0.75, 1.35), "flip_p": 0.5}),
]  # fmt: skip
"""What the plugin registers; what the core composes is not among them."""
