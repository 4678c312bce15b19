"""The shared types: row, batch, info."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

__all__ = ["Batch", "Info", "Row"]

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]
"""One sample from a source: role or column name to raw value."""

Info = Mapping[str, Any]
"""Facts about a processor's batches for backbones (image size, vocabulary size, ...), as plain JSON values."""

if TYPE_CHECKING:
    Batch = dict[str, Tensor]
    """Key to tensor; the first dimension of each is the batch size B. The modality fixes the keys."""
else:
    Batch = dict
