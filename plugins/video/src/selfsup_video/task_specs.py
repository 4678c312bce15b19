"""The tasks of video that have a recipe of their own, as light specs."""

from __future__ import annotations

from selfsup.registry.specs import Family, TaskSpec

_TASKS = "selfsup_video.tasks"


def _spec(
    name: str,
    family: Family,
    target: str,
    summary: str,
    paper: str,
    *,
    title: str = "",
    objective: str = "",
    tokens: bool = False,
) -> TaskSpec:
    return TaskSpec(
        id=f"video/{name}",
        target=f"{_TASKS}.{target}",
        title=title,
        summary=summary,
        paper=paper,
        modality="video",
        family=family,
        objective=objective,
        backbone="video-vit-small" if tokens else "conv3d-small",
        needs_tokens=tokens,
    )


SPECS: list[TaskSpec] = [
    _spec("frame-order", "transformation", "transformations:FRAME_ORDER",
          "In which order do shuffled frames stand, or do they stand in order at all?",
          "Lee et al. 2017, arXiv:1708.01246; Misra et al. 2016, arXiv:1603.08561"),
    _spec("clip-order", "transformation", "transformations:CLIP_ORDER",
          "In which order do shuffled clips stand, each encoded apart?",
          "Xu et al. 2019, CVPR, Self-supervised spatiotemporal learning via video clip order prediction"),
    _spec("arrow-of-time", "transformation", "transformations:ARROW_OF_TIME", "Does the video run forwards or backwards?",
          "Wei et al. 2018, CVPR, Learning and using the arrow of time"),
    _spec("playback-speed", "transformation", "transformations:PLAYBACK_SPEED", "At which of some paces is the video played?",
          "Wang et al. 2020, arXiv:2008.05861"),
    _spec("cvrl", "joint-embedding", "contrast:CVRL",
          "Two windows of a video, near each other more often than far, against those of other videos.",
          "Qian et al. 2020, arXiv:2008.03800", objective="simclr", title="CVRL"),
    _spec("videomae", "masked-modeling", "masked:VIDEOMAE", "Hide 90 % of the places at all times, and predict their pixels.",
          "Tong et al. 2022, arXiv:2203.12602", objective="mae", tokens=True, title="VideoMAE"),
    _spec("vjepa", "latent-prediction", "masked:VJEPA",
          "Predict a teacher's representation of what many small and few large blocks hide at all times.",
          "Bardes et al. 2024, arXiv:2404.08471", tokens=True, title="V-JEPA"),
]  # fmt: skip
"""What the plugin registers; what the core composes is not among them."""
