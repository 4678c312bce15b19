"""Predict the order of the shuffled clips of a video."""

from __future__ import annotations

from itertools import permutations

import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, TransformationRecipe, Transformed, balanced_labels
from selfsup.types import Batch, Info
from selfsup_video.clips import clip_shape, real_frames, take_frames, window_index


class ClipOrderConfig(Config):
    """Options of :class:`ClipOrder`."""

    clips: int = Field(3, ge=2, le=5)
    """Clips to order; their clips! orders are the classes; 3 in the paper."""
    length: int | None = Field(None, ge=1)
    """Frames of a clip; None: as many as fit, with gaps of half as many; 16 in the paper."""
    gap: int | None = Field(None, ge=0)
    """Frames left out between two clips, so that their edges do not match; None: half of the length; 8 in the paper."""


class ClipOrder(Transformation):
    """Video clip order prediction, VCOP (Xu et al. 2019, CVPR, pages 10334-10343).

    Consecutive clips of one length with gaps between them are shuffled and encoded separately, and their order is predicted
    from all embeddings together. The label is the number of the order in :attr:`orders`. The paper's head compares the
    embeddings in pairs first; here they are joined. Videos that are too short for all clips and gaps are left out.

    Raises:
        ConfigError: the clips do not fit into those of the processor.
    """

    kind = "class"
    orders: Tensor

    def __init__(self, config: ClipOrderConfig, info: Info) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.parts = config.clips
        orders = all_orders(config.clips)
        self.n_outputs = len(orders)
        self.register_buffer("orders", orders, persistent=False)
        self.sizes(int(info["frames"]))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, T, 3, S, S] to [B * clips, length, 3, S, S], the shuffled clips of a sample one after another."""
        video = batch["video"]
        B, device, n = video.shape[0], video.device, self.parts
        clips, frames = clip_shape(video, self.info)
        length, gap = self.sizes(frames)
        span = n * length + (n - 1) * gap
        real = real_frames(batch)
        window = window_index(B, clips, frames, span, generator, real=real, device=device)
        label = balanced_labels(B, self.n_outputs, generator, device)
        start = self.orders[label] * (length + gap)
        place = start.unsqueeze(2) + torch.arange(length, device=device)
        index = window.places.gather(1, place.flatten(1))
        seen = take_frames(video, index).reshape(B * n, length, *video.shape[2:])
        return Transformed({"video": seen}, label, None if real is None else (real >= span).float())

    def sizes(self, frames: int) -> tuple[int, int]:
        """Frames of a clip and of a gap, where the processor's clips have ``frames``.

        Raises:
            ConfigError: they do not fit.
        """
        n = self.config.clips
        length = self.config.length or next((size for size in range(frames, 0, -1) if self._span(n, size) <= frames), 1)
        gap = length // 2 if self.config.gap is None else self.config.gap
        if self._span(n, length) > frames:
            raise ConfigError(
                f"{n} clips of {length} frames with gaps of {gap} do not fit into {frames} frames: lower transformation.clips, "
                "length or gap, or set processor.frames higher."
            )
        return length, gap

    def _span(self, n: int, length: int) -> int:
        gap = length // 2 if self.config.gap is None else self.config.gap
        return n * length + (n - 1) * gap


def all_orders(n: int, *, symmetric: bool = False) -> Tensor:
    """[classes, n] long: all n! orders of n things, or with ``symmetric`` the n!/2 that are no other one reversed."""
    every = permutations(range(n))
    return torch.tensor([order for order in every if not symmetric or order[0] < order[-1]])


RECIPE = TransformationRecipe(config=ClipOrderConfig, build=ClipOrder)
"""The transformation of ``video/clip-order``."""
