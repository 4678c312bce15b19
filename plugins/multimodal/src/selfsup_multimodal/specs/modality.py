"""The modality that joins others."""

from __future__ import annotations

from selfsup.registry import Flag, ModalitySpec

MULTIMODAL = ModalitySpec(
    id="multimodal",
    summary="Several modalities at once: pictures with captions, videos with sound, tables with texts.",
    target="selfsup_multimodal.processor:MultimodalProcessor",
    joins=True,
    backbone="towers",
    token_backbone="fusion",
    views="selfsup_multimodal.augmentations:VIEWS",
    single_views="selfsup_multimodal.augmentations:SINGLE_VIEW",
    supervised_views="selfsup_multimodal.augmentations:SUPERVISED_VIEW",
    raw_features="selfsup_multimodal.features:joined",
    raw_title="raw parts together",
    other_raw_features={
        id: f"selfsup_multimodal.features:{id.upper()}" for id in ("vision", "text", "audio", "video", "tabular")
    },
    other_raw_titles={
        "vision": "pixels",
        "text": "TF-IDF",
        "audio": "mel statistics",
        "video": "frame pixels",
        "tabular": "columns",
    },
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

MODALITIES: tuple[ModalitySpec, ...] = (MULTIMODAL,)
