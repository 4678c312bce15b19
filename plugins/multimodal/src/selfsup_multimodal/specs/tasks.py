"""Tasks with a recipe of their own; what the core composes is not among them."""

from __future__ import annotations

from selfsup.registry.specs import Family, TaskSpec

_HERE = "selfsup_multimodal.tasks"


def _spec(
    name: str,
    target: str,
    family: Family,
    summary: str,
    paper: str,
    *,
    title: str = "",
    backbone: str,
    objective: str = "",
    tokens: bool = False,
) -> TaskSpec:
    return TaskSpec(
        id=f"multimodal/{name}",
        target=f"{_HERE}.{target}",
        title=title,
        summary=summary,
        paper=paper,
        modality="multimodal",
        family=family,
        objective=objective,
        backbone=backbone,
        needs_tokens=tokens,
    )


TASKS: tuple[TaskSpec, ...] = (
    _spec("mae", "mae:MAE", "masked-modeling", "Hide most tokens of every part, and give them back from what is left of all.",
          "Geng et al. 2022, arXiv:2205.14204", backbone="fusion", objective="mae", tokens=True),
    _spec("cav-mae", "cav_mae:CAV_MAE", "masked-modeling", "Give back what is hidden, and contrast what is left of each part.",
          "Gong et al. 2023, arXiv:2210.07839", backbone="fusion", objective="mae", tokens=True, title="CAV-MAE"),
    _spec("lit", "lit:LIT", "joint-embedding", "CLIP with the tower of the pictures locked, so that texts learn to read it.",
          "Zhai et al. 2022, arXiv:2111.07991", backbone="towers", objective="clip", title="LiT"),
)  # fmt: skip
