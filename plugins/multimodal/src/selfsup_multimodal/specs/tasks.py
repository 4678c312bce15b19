"""Tasks with a recipe of their own; what the core composes is not among them."""

from __future__ import annotations

from selfsup.specs import Family, TaskSpec

_HERE = "selfsup_multimodal.tasks"


def _spec(
    name: str,
    target: str,
    family: Family,
    summary: str,
    paper: str,
    *,
    backbone: str,
    objective: str = "",
    tokens: bool = False,
) -> TaskSpec:
    return TaskSpec(
        id=f"multimodal/{name}",
        target=f"{_HERE}.{target}",
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
)  # fmt: skip
