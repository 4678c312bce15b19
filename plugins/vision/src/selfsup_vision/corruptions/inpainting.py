"""Inpainting: cut holes into the image and predict their content."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.config import Config, idle
from selfsup.tasks import Corrupted, Corruption, CorruptionRecipe, Term, mean_term
from selfsup.types import Batch, Info
from selfsup_images.backbones import IMAGENET_MEAN
from selfsup_images.pipeline import to_float
from selfsup_vision.backbones.base import channels_of, statistics_for
from selfsup_vision.corruptions.decoder import image_decoder


class InpaintingConfig(Config):
    """Options of :class:`Inpainting`."""

    holes: Literal["regions", "blocks"] = "regions"
    """Shape of the holes: regions of any shape, with which the paper learns its features, or squares (its "random block")."""
    share: float = Field(0.25, gt=0, lt=1)
    """Share of the image that regions cover; a quarter in the paper."""
    region_size: float = Field(0.25, gt=0, le=1)
    """Coarseness of regions: distance between the points of the random field that bounds them, as a fraction of the image's
    side; the paper uses the outlines of objects."""
    n_holes: int = Field(5, ge=1)
    """Squares in each image, which may overlap."""
    hole_size: float = Field(0.25, gt=0, lt=1)
    """Side of a square as a fraction of the image's; five of 0.25 cover about a quarter."""
    decoder_width: int = Field(128, ge=8)
    """Channels of the decoder at the feature map's size."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        why = f"corruption.holes is {self.holes}"
        return {
            **idle(why, self.holes != "regions", "share", "region_size"),
            **idle(why, self.holes != "blocks", "n_holes", "hole_size"),
        }


class Inpainting(Corruption):
    """Context encoders (Pathak et al. 2016, arXiv:1604.07379): fill holes from their surroundings.

    The loss is the paper's reconstruction loss, squared error inside the holes only. There is no adversarial loss: it
    sharpens the picture and has a weight of 0.001 to 0.999 in the paper. By default the holes are regions of any shape at
    random places: with straight borders a network learns features of the border (section 3.2).
    """

    fill: Tensor
    """ImageNet's mean colour, which backbones normalise to zero."""

    def __init__(self, config: InpaintingConfig, info: Info) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.image_size = int(info["image_size"])
        fill = torch.tensor(statistics_for(channels_of(info), IMAGENET_MEAN))
        self.register_buffer("fill", fill.view(1, -1, 1, 1), persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Corrupted:
        """The target is the whole image [B, C, S, S] in 0..1, the weight [B, 1, S, S] is 1 inside holes."""
        clean = to_float(batch["image"])
        hole = self.holes(clean.shape[0], generator, clean.device)
        return Corrupted({"image": torch.where(hole, self.fill, clean)}, clean, hole.float())

    def holes(self, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """[n, 1, S, S] bool, True inside a hole."""
        blocks = self.config.holes == "blocks"
        return self._blocks(n, generator, device) if blocks else self._regions(n, generator, device)

    def _regions(self, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """The stated share of each image where a smooth random field is highest."""
        size = self.image_size
        points = max(round(1 / self.config.region_size), 1) + 1
        noise = torch.randn((n, 1, points, points), generator=generator, device=device)
        field = F.interpolate(noise, size=(size, size), mode="bicubic", align_corners=True)
        covered = min(max(round(self.config.share * size**2), 1), size**2 - 1)
        lowest = field.flatten(1).topk(covered, dim=1).values[:, -1]
        return field >= lowest.view(-1, 1, 1, 1)

    def _blocks(self, n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        size = self.image_size
        side = max(round(size * self.config.hole_size), 1)
        corner = torch.randint(size - side + 1, (n, self.config.n_holes, 2), generator=generator, device=device)
        offset = torch.arange(size, device=device) - corner.unsqueeze(-1)
        inside = (offset >= 0) & (offset < side)
        return (inside[:, :, 0, :, None] & inside[:, :, 1, None, :]).any(dim=1, keepdim=True)

    def build_decoder(self, backbone: Backbone) -> nn.Module:
        """From the feature map to an image."""
        return image_decoder(backbone, self.info, self.config.decoder_width)

    def loss(self, prediction: Tensor, corrupted: Corrupted) -> Term:
        """Mean squared error of the pixels in holes, in float32."""
        assert corrupted.weight is not None
        error = (prediction.float() - corrupted.target).square().mean(dim=1, keepdim=True)
        return mean_term(error, corrupted.weight)


RECIPE = CorruptionRecipe(config=InpaintingConfig, build=Inpainting)
"""Inpainting of images."""
