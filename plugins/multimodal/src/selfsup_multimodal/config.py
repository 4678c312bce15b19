"""Options of the processor of rows that join parts."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from selfsup.config import Config


class MultimodalProcessorConfig(Config):
    """Options of :class:`~selfsup_multimodal.processor.MultimodalProcessor`."""

    parts: tuple[str, ...] = ()
    """What a row joins: ids of modalities (``[vision,text]``), or names with them (``[front:vision,back:vision]``); empty: what
    the columns are found to be. Of a modality whose rows are tables, the part takes the columns that are left."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of the processor of each part: ``options.vision.image_size=64``."""
    captions: int = Field(5, ge=1, le=1000)
    """Texts of a row that are kept where it lists several: training draws one at each step, evaluation takes the first."""
    folder: str = ""
    """Folder that the paths in a table start from; empty: the table's own, or one in or beside it that holds the files."""
