"""Options of the processor of joined rows."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from selfsup.config import Config


class MultimodalProcessorConfig(Config):
    """Options of :class:`~selfsup_multimodal.processor.MultimodalProcessor`."""

    parts: tuple[str, ...] = ()
    """What a row joins: ids of modalities (``[vision,text]``), or names with them (``[front:vision,back:vision]``); empty: the
    parts that the columns suggest. A tabular part takes the remaining columns."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of the processor of each part: ``options.vision.image_size=64``."""
    captions: int = Field(5, ge=1, le=1000)
    """Most texts kept per row if rows list several: training draws one at each step, evaluation uses the first."""
    folder: str = ""
    """Folder that paths in a table are relative to; empty: the table's folder, or one in or next to it."""
