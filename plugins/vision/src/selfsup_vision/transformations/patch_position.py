"""Predict the position of each patch of a shuffled image."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, TransformationRecipe, Transformed
from selfsup.types import Batch, Info
from selfsup_images.pipeline import to_float
from selfsup_vision.backbones.base import channels_of
from selfsup_vision.transformations.tiles import cut, join, take, windows

_MEAN = 0.45
"""Grey of gaps and of dropped channels: the mean of ImageNet's pixels in 0..1."""
_GREEN_MAGENTA = (-1.0, 2.0, -1.0)
"""The direction in RGB along which lenses shift colours (Doersch et al. 2015, section 3.1)."""


class PatchPositionConfig(Config):
    """Options of :class:`PatchPosition`; the guards and their values are those of Doersch et al. 2015, section 3.1."""

    n: int = Field(3, ge=2, le=8)
    """Patches along each side of the image; 3 in the paper (one patch and its 8 neighbours)."""
    gap: float = Field(0.5, ge=0, le=2)
    """Distance between neighbouring patches, as a fraction of a patch's side; 0.5 in the paper (48 of 96 pixels); 0: none."""
    jitter: float = Field(7 / 96, ge=0, le=0.5)
    """Largest shift of a patch along each axis, as a fraction of its side; 7/96 in the paper; within half of the gap."""
    color_guard: Literal["projection", "dropping", "none"] = "projection"
    """Guard against chromatic aberration: remove the green-magenta direction from each pixel, or keep one random channel of
    each patch and replace the others by faint noise; the paper has both, with similar results."""


class PatchPosition(Transformation):
    """The image is cut into n x n patches, these are shuffled, and (x, y) of each patch is regressed.

    After Doersch et al. 2015 (arXiv:1505.05192), who classify the place of one patch relative to another and encode the two
    separately; here the network sees the shuffled image as a whole and predicts the original coordinates of each patch, with
    squared error. The paper's guards against shortcuts are included: patches do not touch, each is cut at a random place of its
    cell, and colours do not reveal the distance from the axis of the lens. Gaps are grey.

    The gap is of whole pixels, at least one, so small images keep it: 3 pixels between patches of 7 at 32, 25 between patches
    of 49 at 224. The shift is at least one pixel where the gap allows it (1 at 32, 4 at 224).

    Raises:
        ConfigError: the image is too small for so many patches and their gap.
    """

    kind = "coordinates"
    axis: Tensor

    def __init__(self, config: PatchPositionConfig, info: Info) -> None:
        super().__init__()
        image_size, channels = int(info["image_size"]), channels_of(info)
        axis = torch.tensor(_GREEN_MAGENTA).view(3, 1, 1)
        self.register_buffer("axis", axis / axis.norm(), persistent=False)
        self.n, self.color_guard = config.n, config.color_guard
        if channels != 3 and config.color_guard != "none":
            self.color_guard = "none"
            self.note = f"No guard against chromatic aberration: images with {channels} channels have no colours."
        self.n_outputs = 2 * config.n**2
        self.cell = image_size // config.n
        self.patch = min(round(self.cell / (1 + config.gap)), self.cell - 1 if config.gap > 0 else self.cell)
        if self.patch < 2:
            raise ConfigError(
                f"transformation.n={config.n} is too many patches for images of {image_size} pixels: a patch and its gap "
                f"(transformation.gap={config.gap}) have {self.cell} pixels, and a patch has at least 2. Choose a larger "
                "processor.image_size, or fewer patches."
            )
        wanted = max(round(self.patch * config.jitter), 1) if config.jitter > 0 else 0
        self.shift = min(wanted, (self.cell - self.patch) // 2)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """Shuffle; the label [B, n * n, 2] is the original x and y in 0..1 of the patch at each place of the result."""
        image = to_float(batch["image"])
        B, device, parts = image.shape[0], image.device, self.n**2
        margin = (self.cell - self.patch) // 2
        corner = torch.full((B, parts, 2, 1), margin, device=device)
        if self.shift:
            corner = corner + torch.randint(-self.shift, self.shift + 1, corner.shape, generator=generator, device=device)
        patches = self._guarded(windows(cut(image, self.n), self.patch, corner[:, :, 0], corner[:, :, 1]), generator)
        order = torch.rand((B, parts), generator=generator, device=device).argsort(dim=1)
        rest = self.cell - self.patch - margin
        framed = torch.nn.functional.pad(take(patches, order), (margin, rest, margin, rest), value=_MEAN)
        shuffled = join(framed, self.n, (image.shape[2], image.shape[3]), _MEAN)
        column, row = order % self.n, order.div(self.n, rounding_mode="floor")
        return Transformed({"image": shuffled}, torch.stack([column, row], dim=-1).float() / (self.n - 1))

    def _guarded(self, patches: Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, N, 3, h, w] without the colours that reveal the distance from the axis of the lens."""
        if self.color_guard == "projection":
            along = (patches * self.axis).sum(dim=2, keepdim=True)
            return patches - along * self.axis
        if self.color_guard == "dropping":
            B, N = patches.shape[:2]
            kept = torch.randint(3, (B, N, 1, 1, 1), generator=generator, device=patches.device)
            noise = torch.randn(patches.shape, generator=generator, device=patches.device)
            spread = patches.gather(2, kept.expand(-1, -1, 1, *patches.shape[3:])).std(dim=(3, 4), keepdim=True)
            channel = torch.arange(3, device=patches.device).view(1, 1, 3, 1, 1)
            return torch.where(channel == kept, patches, _MEAN + 0.01 * spread * noise)
        return patches


RECIPE = TransformationRecipe(config=PatchPositionConfig, build=PatchPosition)
"""The transformation of ``vision/patch-position``."""
