"""Transformation: segments of every sequence in another order; which order it is, is the answer."""

from __future__ import annotations

import math
from itertools import permutations

import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.tasks.base import Transformation, TransformationRecipe, Transformed
from selfsup.tasks.parts.random_masking import gather_tokens
from selfsup.testing.toy.sequences.views import real_length
from selfsup.types import Batch, Info


class SegmentOrderConfig(Config):
    """Options of the transformation."""

    segments: int = Field(default=3, ge=2, le=4)
    """Segments of equal length; there are as many classes as orders."""


class SegmentOrder(Transformation):
    """Each sample's segments in an order of its own; what the segments leave over at the end stays there."""

    kind = "class"
    orders: Tensor

    def __init__(self, config: SegmentOrderConfig, info: Info) -> None:
        super().__init__()
        self.segments = config.segments
        self.n_outputs = math.factorial(config.segments)
        self.register_buffer("orders", torch.tensor(list(permutations(range(config.segments)))), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """Shuffle segments."""
        sequence = batch["sequence"]
        B, N = sequence.shape[:2]
        label = torch.randint(self.n_outputs, (B,), generator=generator, device=sequence.device)
        width = real_length(sequence, batch.get("padding")) // self.segments
        place = torch.arange(N, device=sequence.device).unsqueeze(0).expand(B, N)
        safe = width.clamp(min=1)
        segment = (place // safe).clamp(max=self.segments - 1)
        source = self.orders[label].gather(1, segment) * width + place % safe
        source = torch.where(place < width * self.segments, source, place)
        return Transformed({**batch, "sequence": gather_tokens(sequence, source)}, label)


RECIPE = TransformationRecipe(config=SegmentOrderConfig, build=SegmentOrder)
