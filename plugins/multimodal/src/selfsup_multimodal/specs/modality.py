"""The modality that joins others."""

from __future__ import annotations

from selfsup.specs import ModalitySpec

MULTIMODAL = ModalitySpec(
    id="multimodal",
    summary="Several modalities at once: pictures with captions, videos with sound, tables with texts.",
    target="selfsup_multimodal.processor:MultimodalProcessor",
    joins=True,
    backbone="towers",
    mock_rows="selfsup_multimodal.mock:mock_rows",
    noise_rows="selfsup_multimodal.mock:NOISE_ROWS",
)

MODALITIES: tuple[ModalitySpec, ...] = ()
