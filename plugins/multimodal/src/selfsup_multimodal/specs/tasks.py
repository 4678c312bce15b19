"""Tasks that differ from what the core composes."""

from __future__ import annotations

from selfsup.registry import TaskSpec, preset

_HERE = "selfsup_multimodal.tasks"

TASKS: tuple[TaskSpec, ...] = (
    preset("mae", id="multimodal/mae", family="masked-modeling", backbone="fusion", needs_tokens=True,
           recipe=f"{_HERE}.mae:JOINT_MAE",
           summary="Mask most tokens of every part and reconstruct them from the visible tokens of all parts (M3AE).",
           paper="Geng et al. 2022, arXiv:2205.14204"),
    preset("mae", id="multimodal/cav-mae", family="masked-modeling", title="CAV-MAE", backbone="fusion", needs_tokens=True,
           recipe=f"{_HERE}.cav_mae:CAV_MAE_FAMILY",
           summary="Reconstruct masked tokens of every part, and contrast the parts of a row with those of other rows.",
           paper="Gong et al. 2023, arXiv:2210.07839"),
    TaskSpec(
        id="multimodal/lit",
        target=f"{_HERE}.lit:LIT",
        title="LiT",
        summary="Train the other towers by CLIP's loss while the image tower is locked.",
        paper="Zhai et al. 2022, arXiv:2111.07991",
        modality="multimodal",
        family="joint-embedding",
        objective="clip",
        backbone="towers",
    ),
)  # fmt: skip
