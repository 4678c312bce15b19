"""Predict the order of the shuffled frames of a video, or verify that they are in order."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, TransformationRecipe, Transformed, balanced_labels
from selfsup.types import Batch, Info
from selfsup_video.clips import clip_shape, real_frames, take_frames, window_index
from selfsup_video.transformations.clip_order import all_orders


class FrameOrderConfig(Config):
    """Options of :class:`FrameOrder`."""

    mode: Literal["permutation", "verification"] = "permutation"
    """Classify the order of shuffled frames (Lee et al.), or verify that frames are in order (Misra et al.)."""
    frames: int = Field(4, ge=2, le=6)
    """Frames that are seen; 4 in Lee et al., 3 in Misra et al."""
    spacing: tuple[int, int] | None = None
    """Smallest and largest distance of neighbours, in kept frames; None: from half of the largest that fits to the largest.

    In videos with fewer frames than a clip neighbours are closer; videos into which they do not fit are left out.
    """
    symmetric: bool = True
    """Whether an order and its reverse are one class, as in both papers, since many motions are reversible."""
    apart: bool = False
    """Encode each frame separately and join the embeddings, as both papers do, or all frames as one short clip."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.spacing is not None and not 1 <= self.spacing[0] <= self.spacing[1]:
            raise ValueError(f"spacing={self.spacing} is no range: 1 <= least <= largest")
        if self.mode == "verification" and self.frames < 3:
            raise ValueError("frames=2 cannot be verified, since an inner frame is replaced: use 3 or more")
        if self.mode == "permutation" and self.frames == 2 and self.symmetric:
            raise ValueError("frames=2 have one order if its reverse is the same: set symmetric=false, or use more frames")
        return self


class FrameOrder(Transformation):
    """Order of frames as one of all permutations (Lee et al. 2017, arXiv:1708.01246), or verified (Misra et al. 2016,
    arXiv:1603.08561).

    In ``permutation`` mode the frames are shuffled and the label is the number of the order in :attr:`orders`. In
    ``verification`` mode two more frames are drawn, one before and one after; label 1 is for frames in order, and label 0 if an
    inner frame is replaced by one of these two. With ``symmetric`` half of the samples run backwards. The papers choose frames
    with much motion by optical flow and crop each separately; here frames are chosen at random and cropped in the same way.

    Raises:
        ConfigError: the frames do not fit into a clip.
    """

    kind = "class"
    orders: Tensor

    def __init__(self, config: FrameOrderConfig, info: Info) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.verifies = config.mode == "verification"
        orders = all_orders(config.frames, symmetric=config.symmetric)
        self.register_buffer("orders", orders, persistent=False)
        self.n_outputs = 2 if self.verifies else len(orders)
        self.parts = config.frames if config.apart else 1
        self.drawn = config.frames + 2 if self.verifies else config.frames
        self.spacings(int(info["frames"]))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """[B, T, 3, S, S] to [B, frames, 3, S, S], or to [B * frames, 1, 3, S, S] if they are encoded separately."""
        video = batch["video"]
        B, device = video.shape[0], video.device
        clips, frames = clip_shape(video, self.info)
        least, largest = self.spacings(frames)
        real = real_frames(batch)
        spacing = torch.randint(least, largest + 1, (B,), generator=generator, device=device)
        if real is not None:
            # As far apart as the frames allow, or within the shorter video's own range.
            fits = (real - 1).div(self.drawn - 1, rounding_mode="floor")
            nearest = least if self.config.spacing else (fits + 1).div(2, rounding_mode="floor")
            weight = (fits >= (least if self.config.spacing else 1)).float()
            own = torch.rand(B, generator=generator, device=device) * (fits - nearest + 1).clamp(min=1)
            spacing = torch.where(fits < largest, (nearest + own.long()).clamp(min=1), spacing)
        window = window_index(B, clips, frames, self.drawn, generator, spacing=spacing, real=real, device=device)
        label = balanced_labels(B, self.n_outputs, generator, device)
        order = self._verified(label, generator) if self.verifies else self.orders[label]
        if self.config.symmetric:
            backwards = torch.rand((B, 1), generator=generator, device=device) < 0.5
            order = torch.where(backwards, order.flip(1), order)
        seen = take_frames(video, window.places.gather(1, order))
        seen = seen.flatten(0, 1).unsqueeze(1) if self.config.apart else seen
        return Transformed({"video": seen}, label, None if real is None else weight)

    def _verified(self, label: Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, frames] long: which of the drawn frames are shown."""
        n, shape, device = self.config.frames, (len(label), 1), label.device
        place = torch.arange(n, device=device)
        changed = torch.randint(1, n - 1, shape, generator=generator, device=device)
        outside = torch.randint(2, shape, generator=generator, device=device) * (n + 1)
        return torch.where((place == changed) & (label == 0).unsqueeze(1), outside, place + 1)

    def spacings(self, frames: int) -> tuple[int, int]:
        """Smallest and largest distance of neighbours in a clip of ``frames``.

        Raises:
            ConfigError: the frames do not fit at this distance.
        """
        fits = (frames - 1) // (self.drawn - 1)
        least, largest = self.config.spacing or ((fits + 1) // 2, fits)
        if not 1 <= largest <= fits:
            raise ConfigError(
                f"{self.drawn} frames, {max(largest, 1)} apart, do not fit into a clip of {frames}: lower "
                "transformation.frames or transformation.spacing, or set processor.frames higher."
            )
        return least, largest


RECIPE = TransformationRecipe(config=FrameOrderConfig, build=FrameOrder)
"""The transformation of ``video/frame-order``."""
