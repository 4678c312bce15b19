"""Predict the order of the shuffled segments of a recording."""

from __future__ import annotations

import math
from itertools import permutations
from typing import TypeVar

import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, TransformationRecipe, Transformed
from selfsup.types import Batch, Info
from selfsup_audio.waveforms import to_float

Length = TypeVar("Length", int, Tensor)


class SegmentOrderConfig(Config):
    """Options of :class:`SegmentOrder`."""

    segments: int = Field(3, ge=2, le=5)
    """Segments of equal length; each of their 2 to 120 orders is a class."""
    gap: float = Field(0.15, ge=0, lt=1)
    """Share of a segment that is left out, at random on both sides, so that no sound continues in the next; 11/75 in jigsaw."""
    fade_seconds: float = Field(0.005, ge=0)
    """Time in which a segment fades in and out, so that no click marks a cut."""
    apart: bool = True
    """Encode each segment separately and join the embeddings, as in the jigsaw paper; otherwise encode the shuffled whole."""


class SegmentOrder(Transformation):
    """The jigsaw puzzle of time (after Noroozi & Favaro 2016, arXiv 1603.09246; Carr et al. 2021, arXiv 2103.09879).

    The real part of each recording is cut into cells of equal length, a piece is cut from each, and the pieces are put into one
    of all possible orders with equal probability. A shorter recording has shorter pieces; ``length`` is their length. If a cell
    has no room for two fades and two samples, all pieces are silence: padding would give the order away.
    """

    kind = "class"
    orders: Tensor

    def __init__(self, config: SegmentOrderConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.n_outputs = math.factorial(config.segments)
        self.parts = config.segments if config.apart else 1
        self.fade = round(config.fade_seconds * sample_rate)
        self.least = 2 * self.fade + 2
        self.register_buffer("orders", torch.tensor(list(permutations(range(config.segments)))), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, T] to [B * segments, t] (``apart``) or [B, segments * t]; the label is the number of the order.

        Row r of ``orders`` names the segment of the recording at each place of the result.
        """
        waveform, length = batch["waveform"], batch["length"]
        B, device, n = len(waveform), waveform.device, self.config.segments
        label = torch.randint(self.n_outputs, (B,), generator=generator, device=device)
        u = torch.rand(B, n, generator=generator, device=device)
        cell = (length // n).clamp(min=1).unsqueeze(1)
        width = piece(cell, self.config.gap).clamp(min=1)
        start = self.orders[label] * cell + torch.minimum((u * (cell - width + 1)).long(), cell - width)
        longest = waveform.shape[1] // n
        step = torch.arange(max(piece(longest, self.config.gap), 1), device=device)
        source = (start.unsqueeze(2) + step).clamp(max=waveform.shape[1] - 1)
        envelope = self._envelope(step, width) * (length // n >= self.least).unsqueeze(1)
        pieces = to_float(waveform).unsqueeze(1).expand(-1, n, -1).gather(2, source) * envelope.unsqueeze(1)
        if self.config.apart:
            return Transformed({"waveform": pieces.flatten(0, 1), "length": width.expand(-1, n).flatten()}, label)
        # Pieces of shorter recordings follow each other without a pause, and all padding comes last.
        place = torch.arange(n * len(step), device=device)
        index = (place // width).clamp(max=n - 1) * len(step) + (place % width).clamp(max=len(step) - 1)
        joined = pieces.flatten(1).gather(1, index) * (place < n * width)
        return Transformed({"waveform": joined, "length": (n * width).squeeze(1)}, label)

    def _envelope(self, step: Tensor, width: Tensor) -> Tensor:
        """[B, t], 1 within a piece of ``width`` ([B, 1]) samples, falling to 0 at its ends, 0 behind it."""
        edge = torch.minimum(step + 1, width - step).clamp(min=0)
        return (edge / (self.fade + 1)).clamp(max=1)


def piece(cell: Length, gap: float) -> Length:
    """Samples of the piece of a cell of ``cell`` samples; in integers, so that host and device agree."""
    return cell - cell * round(gap * 1000) // 1000


def build_segment_order(config: SegmentOrderConfig, info: Info) -> SegmentOrder:
    """Make the transformation.

    Raises:
        ConfigError: the clips are too short for so many segments.
    """
    rate, n_samples = int(info["sample_rate"]), int(info["n_samples"])
    made = SegmentOrder(config, rate)
    if n_samples // config.segments < made.least:
        raise ConfigError(
            f"transformation.segments={config.segments} is too many for clips of {n_samples / rate:.3g} s, with "
            f"transformation.fade_seconds={config.fade_seconds}: choose fewer, or a longer processor.clip_seconds."
        )
    return made


RECIPE = TransformationRecipe(config=SegmentOrderConfig, build=build_segment_order)
"""The transformation of ``audio/segment-order``."""
