"""Where did each patch of a shuffled image lie?"""

from __future__ import annotations

import torch
from pydantic import Field

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.tasks import Transformation, Transformed
from selfsup.types import Batch, Info
from selfsup_vision.transformations.tiles import cut, join, take


class PatchPositionConfig(Config):
    """Options of :class:`PatchPosition`."""

    n: int = Field(3, ge=2, le=8)
    """Patches along each side of the image; 3 in Doersch et al. 2015 (one patch and its 8 neighbours)."""


class PatchPosition(Transformation):
    """The image is cut into n x n patches, these are shuffled and joined, and (x, y) of each patch is regressed.

    After Doersch et al. 2015 (arXiv:1505.05192), who classify the place of one patch relative to another and encode the two
    apart; here the network sees the shuffled image as a whole and says where each patch came from, as coordinates with squared
    error.
    Where n does not divide the image, its border (at most n - 1 pixels) is mid-grey.
    """

    kind = "coordinates"

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.n_outputs = 2 * n * n

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        """Shuffle; the label [B, n * n, 2] says for each place of the result where its patch lay: x and y in 0..1."""
        image = batch["image"]
        order = torch.rand((image.shape[0], self.n**2), generator=generator, device=image.device).argsort(dim=1)
        fill = 128.0 if image.dtype == torch.uint8 else 0.5
        shuffled = join(take(cut(image, self.n), order), self.n, (image.shape[2], image.shape[3]), fill)
        column, row = order % self.n, order.div(self.n, rounding_mode="floor")
        return Transformed({"image": shuffled}, torch.stack([column, row], dim=-1).float() / (self.n - 1))


def build_patch_position(config: PatchPositionConfig, info: Info) -> PatchPosition:
    """Make the transformation.

    Raises:
        ConfigError: the image is too small for so many patches.
    """
    if int(info["image_size"]) < 2 * config.n:
        raise ConfigError(f"transformation.n={config.n} is too many patches for images of {info['image_size']} pixels.")
    return PatchPosition(config.n)
