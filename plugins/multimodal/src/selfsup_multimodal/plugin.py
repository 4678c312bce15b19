"""Registers the multimodal plugin: its modality, backbones, tasks and evaluators. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, EvaluatorSpec, Flag, ModalitySpec, TaskSpec, hookimpl, preset

SELFSUP_API = 1

_VIEWS = "selfsup_multimodal.augmentations"
_BACKBONES = "selfsup_multimodal.backbones"
_TASKS = "selfsup_multimodal.tasks"
_EVALUATORS = "selfsup_multimodal.evaluators"
_RAW_TITLES = {"vision": "pixels", "text": "TF-IDF", "audio": "mel statistics", "video": "frame pixels", "tabular": "columns"}


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """The modality whose rows join parts of other modalities."""
    return [
        ModalitySpec(
            id="multimodal",
            summary="Several modalities at once: pictures with captions, videos with sound, tables with texts.",
            target="selfsup_multimodal.processor:MultimodalProcessor",
            joins=True,
            backbone="towers",
            token_backbone="fusion",
            views=f"{_VIEWS}:VIEWS",
            single_views=f"{_VIEWS}:SINGLE_VIEW",
            supervised_views=f"{_VIEWS}:SUPERVISED_VIEW",
            raw_features="selfsup_multimodal.features:joined",
            raw_title="raw parts together",
            other_raw_features={id: f"selfsup_multimodal.features:{id.upper()}" for id in _RAW_TITLES},
            other_raw_titles=_RAW_TITLES,
            mock_rows="selfsup_multimodal.mock:mock_rows",
            noise_rows="selfsup_multimodal.mock:NOISE_ROWS",
            flags=(
                Flag(
                    name="parts",
                    option="processor.parts",
                    summary="What a row joins: vision,text, or front:vision,back:vision.",
                    metavar="PART,PART",
                ),
            ),
        )
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """One network per part, or one network for the tokens of all parts."""

    def spec(id: str, summary: str, *, tokens: bool = False) -> BackboneSpec:
        return BackboneSpec(
            id=id, summary=summary, target=f"{_BACKBONES}.{id}:{id.upper()}", modality="multimodal", tokens=tokens
        )

    return [
        spec("towers", "One encoder per part, projected into a joint space (CLIP)."),
        spec("fusion", "One transformer over the tokens of all parts (M3AE).", tokens=True),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; the core composes the others."""
    return [
        preset("mae", id="multimodal/mae", family="masked-modeling", backbone="fusion", needs_tokens=True,
               recipe=f"{_TASKS}.mae:JOINT_MAE",
               summary="Mask most tokens of every part and reconstruct them from the visible tokens of all parts (M3AE).",
               paper="Geng et al. 2022, arXiv:2205.14204"),
        preset("mae", id="multimodal/cav-mae", family="masked-modeling", title="CAV-MAE", backbone="fusion", needs_tokens=True,
               recipe=f"{_TASKS}.cav_mae:CAV_MAE_FAMILY",
               summary="Reconstruct masked tokens of every part, and contrast the parts of a row with those of other rows.",
               paper="Gong et al. 2023, arXiv:2210.07839"),
        TaskSpec(id="multimodal/lit", modality="multimodal", family="joint-embedding", title="LiT", objective="clip",
                 backbone="towers", target=f"{_TASKS}.lit:LIT",
                 summary="Train the other towers by CLIP's loss while the image tower is locked.",
                 paper="Zhai et al. 2022, arXiv:2111.07991"),
    ]  # fmt: skip


@hookimpl
def selfsup_evaluators() -> list[EvaluatorSpec]:
    """Evaluators that compare the parts of a row."""
    return [
        EvaluatorSpec(
            id="cross-modal-retrieval",
            summary="Retrieve the other parts of a test row from each part: R@k and median rank, both ways.",
            target=f"{_EVALUATORS}.retrieval:RECIPE",
            modality="multimodal",
            needs_parts=True,
            needs_labels=False,
            paper="Radford et al. 2021, arXiv 2103.00020; Faghri et al. 2018, arXiv 1707.05612",
        ),
        EvaluatorSpec(
            id="zero-shot",
            summary="Classify a part by the nearest embedded class name, without training (CLIP).",
            target=f"{_EVALUATORS}.zero_shot:RECIPE",
            modality="multimodal",
            needs_parts=True,
            paper="Radford et al. 2021, arXiv 2103.00020, 3.1",
        ),
        EvaluatorSpec(
            id="missing-part",
            summary="Measure what a probe on all parts loses when test rows lack one, and what each part gives alone.",
            target=f"{_EVALUATORS}.missing_part:RECIPE",
            modality="multimodal",
            needs_parts=True,
            label_kinds=("class", "classes", "number"),
            paper="Ma et al. 2022, arXiv 2204.05454",
        ),
    ]
