"""What a measurement of speed is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Options of ``python -m speed``."""

    repeats: int = 5
    """Measurements of each side."""
    data: str = ""
    """Source of the real rows that are trained on; empty: the figure's own."""
    rows: int = 0
    """Rows of the larger file whose memory is measured; 0: the figure's own."""
    steps: int = 0
    """Optimizer steps of a measurement; 0: the figure's own."""
