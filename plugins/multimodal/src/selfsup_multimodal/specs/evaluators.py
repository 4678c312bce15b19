"""Measurements across parts."""

from __future__ import annotations

from selfsup.registry import EvaluatorSpec

_HERE = "selfsup_multimodal.evaluators"

EVALUATORS: tuple[EvaluatorSpec, ...] = (
    EvaluatorSpec(
        id="cross-modal-retrieval",
        summary="Retrieve the other parts of a test row from each part: R@k and median rank, both ways.",
        target=f"{_HERE}.retrieval:RECIPE",
        modality="multimodal",
        needs_parts=True,
        needs_labels=False,
        paper="Radford et al. 2021, arXiv 2103.00020; Faghri et al. 2018, arXiv 1707.05612",
    ),
    EvaluatorSpec(
        id="zero-shot",
        summary="Classify a part by the nearest embedded class name, without training (CLIP).",
        target=f"{_HERE}.zero_shot:RECIPE",
        modality="multimodal",
        needs_parts=True,
        paper="Radford et al. 2021, arXiv 2103.00020, 3.1",
    ),
    EvaluatorSpec(
        id="missing-part",
        summary="Measure what a probe on all parts loses when test rows lack one, and what each part gives alone.",
        target=f"{_HERE}.missing_part:RECIPE",
        modality="multimodal",
        needs_parts=True,
        label_kinds=("class", "classes", "number"),
        paper="Ma et al. 2022, arXiv 2204.05454",
    ),
)
