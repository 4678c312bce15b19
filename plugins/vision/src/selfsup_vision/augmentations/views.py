"""The default views of images, those of SimCLR, with options for what other methods change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.tasks import Views, ViewsRecipe, with_defaults
from selfsup.types import Batch, Info
from selfsup_images.color import recolor_
from selfsup_images.crop import box_locations, sides
from selfsup_images.pipeline import ViewOptions, draw_together, make_view
from selfsup_images.view_config import CropAndColorConfig, Probability, Range
from selfsup_vision.sizes import local_size_for


class ImageViewsConfig(CropAndColorConfig):
    """Options of :class:`ImageViews`; the defaults are SimCLR's (Chen et al. 2020, arXiv:2002.05709, appendix A and B.9)."""

    jitter_strength: float | None = Field(None, ge=0)
    """Factor on the four amounts of jitter; None: 1, or 0.5 for images below 64 pixels, as in the paper (appendix B.9)."""
    blur_p: tuple[Probability, ...] = Field((0.5,), min_length=1)
    """Probability of blur for each global view, the last for all that follow; 0.5 in the paper, (1, 0.1) in BYOL."""
    local_blur_p: Probability = 0.5
    """Probability of Gaussian blur for local views; 0.5 in SwAV and DINO."""
    solarize_p: tuple[Probability, ...] = Field((0.0,), min_length=1)
    """Probability of solarization for each global view, the last for all that follow; 0 in the paper, (0, 0.2) in BYOL."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        blurs = max(self.blur_p) > 0 or (self.n_local > 0 and self.local_blur_p > 0)
        return {
            **super().without_effect(),
            **idle("views.n_local is 0", self.n_local == 0, "local_blur_p"),
            **idle("nothing is blurred", not blurs, "blur_sigma", "blur_min_size"),
        }


class ImageViews(Views):
    """Random views of a batch of images, on its device, each sample with its own parameters.

    A view holds ``image`` (float32 [B, C, S, S] in 0..1) and ``crop`` (see :class:`selfsup.tasks.Views`). Every step equals
    torchvision's function of the same name on each sample. Blur and solarization change a fixed number of samples in a batch
    (each sample with the stated probability), so that the others cost nothing. Images with channels other than red, green and
    blue have no saturation, hue and greyscale; brightness and contrast change all their channels together. In training, crops
    are cut from the whole image, not from the centre that evaluation sees
    (:meth:`selfsup_vision.processor.ImageProcessor.collate_whole`).
    """

    takes_whole = True
    compilable = ("recolor",)
    recolor = staticmethod(recolor_)

    def __init__(self, config: ImageViewsConfig, info: Info) -> None:
        super().__init__()
        self.n_global, self.n_local = config.n_global, config.n_local
        image_size = int(info["image_size"])
        colors = int(info.get("channels", 3)) == 3
        strength = config.jitter_strength
        if strength is None:
            strength = 0.5 if image_size < 64 else 1.0

        size = config.global_size or image_size
        local_size = config.local_size or local_size_for(size)
        blurred = size >= config.blur_min_size

        def options(size: int, scale: Range, blur_p: float, solarize_p: float) -> ViewOptions:
            blur_p = blur_p if blurred else 0.0
            return config.options(size, scale, strength=strength, blur_p=blur_p, solarize_p=solarize_p, colors=colors)

        self.views = [
            options(size, config.global_scale, _nth(config.blur_p, i), _nth(config.solarize_p, i)) for i in range(self.n_global)
        ]
        self.views += [options(local_size, config.local_scale, config.local_blur_p, 0.0) for _ in range(self.n_local)]
        left_out = [
            name
            for name, amount in (
                ("saturation", config.jitter_p * config.saturation * strength),
                ("hue", config.jitter_p * config.hue * strength),
                ("greyscale", config.grey_p),
            )
            if amount and not colors
        ]
        if left_out:
            self.note = (
                f"Views change no {', '.join(left_out)}: images with {info['channels']} channels have no colours. Brightness "
                "and contrast change all channels together; blur and solarization each."
            )

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views of ``batch["image"]`` ([B, C, H, W], uint8 or float in 0..1), then ``n_local`` smaller ones.

        ``batch["size"]`` ([B, 2]), if present, is the height and width of each image; wider images are stored transposed.
        """
        image = batch["image"]
        shape, lying = size_of(batch)
        if image.device.type == "cpu":
            return [view for options in self.views for view in self._made([options], image, shape, lying, generator)]
        # A GPU takes longer to be called than to work, so it makes all views at once that differ in blur and solarization only.
        groups: dict[ViewOptions, list[int]] = {}
        for place, options in enumerate(self.views):
            groups.setdefault(replace(options, blur_p=0.0, solarize_p=0.0), []).append(place)
        made: dict[int, Batch] = {}
        for members in groups.values():
            views = self._made([self.views[place] for place in members], image, shape, lying, generator)
            made.update(zip(members, views, strict=True))
        return [made[place] for place in range(len(self.views))]

    def _made(
        self,
        views: Sequence[ViewOptions],
        image: Tensor,
        shape: tuple[int, int] | Tensor,
        lying: Tensor | None,
        generator: torch.Generator | None,
    ) -> list[Batch]:
        """Views whose options differ in blur and solarization only, drawn together; the images themselves are not repeated."""
        k = len(views)
        drawn = draw_together(views, len(image), shape, generator, image.device)
        view = make_view(image, views[0], drawn, lying, self.recolor)
        crop = box_locations(drawn.boxes, shape.repeat(k, 1) if isinstance(shape, Tensor) else shape, drawn.flip)
        return [{"image": one, "crop": place} for one, place in zip(view.chunk(k), crop.chunk(k), strict=True)]


def size_of(batch: Batch) -> tuple[tuple[int, int] | Tensor, Tensor | None]:
    """Height and width of the images of a batch, or of each ([B, 2]), and which are stored transposed ([B] bool) if any can
    be."""
    if "size" in batch:
        return batch["size"], batch["size"][:, 1] > batch["size"][:, 0]
    return (batch["image"].shape[2], batch["image"].shape[3]), None


def _nth(values: tuple[float, ...], index: int) -> float:
    """The value for a view; the last one for all further views."""
    return values[min(index, len(values) - 1)]


RECIPE = ViewsRecipe(config=ImageViewsConfig, build=ImageViews)
"""The default views of images."""
_NO_COLORS: dict[str, Any] = {"jitter_p": 0.0, "grey_p": 0.0, "blur_p": (0.0,), "solarize_p": (0.0,)}

SINGLE_RECIPE = ViewsRecipe(
    config=with_defaults(ImageViewsConfig, {"n_global": 1, "n_local": 0, "global_scale": (0.2, 1.0), **_NO_COLORS}),
    build=ImageViews,
)
"""A random resized crop of 20 to 100 % of the area, width/height 3/4 to 4/3, mirrored half of the time, as in MAE
(arXiv:2111.06377, section 4; scale and ratio in the authors' code). ``views.global_scale=[1,1]`` with ``views.flip_p=0`` shows
the whole image."""


class ShiftViewsConfig(Config):
    """Options of :class:`ShiftViews`."""

    n_global: int = Field(1, ge=1)
    """Views of each image; supervised training takes one."""
    n_local: int = Field(0, ge=0, le=0)
    """There are no local views."""
    padding: float = Field(0.125, ge=0, lt=1)
    """Largest shift as a fraction of the image size; 4 pixels of 32 in He et al. 2015 (arXiv:1512.03385)."""
    flip_p: Probability = 0.5
    """Probability of a mirrored view; 0.5 in the paper."""


class ShiftViews(Views):
    """The light augmentation of supervised training: a square at a random place, and a random flip.

    The square is anywhere in a whole image (He et al. 2015 crop 224 pixels from 256 to 480), and at least ``padding`` to each
    side of the centre; beyond the edges the image is mirrored. He et al. pad small images with zeros; mirrored edges leave no
    dark bars, which a frozen or small network could confuse with content. Pixels are moved, never interpolated.
    """

    takes_whole = True

    def __init__(self, config: ShiftViewsConfig, info: Info) -> None:
        super().__init__()
        self.size = int(info["image_size"])
        self.n_global, self.n_local = config.n_global, 0
        self.config = config

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views [B, C, S, S] of ``batch["image"]``, with its dtype."""
        return [{"image": self._shifted(batch, generator)} for _ in range(self.n_global)]

    def _shifted(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        image = batch["image"]
        n, device = image.shape[0], image.device
        shape, lying = size_of(batch)
        height, width = sides(shape, n, device)
        flip = torch.rand((n, 1), generator=generator, device=device) < self.config.flip_p
        rows = self._places(height, generator)
        columns = self._places(width, generator)
        columns = torch.where(flip, columns.flip(1), columns)
        y, x = rows.unsqueeze(2), columns.unsqueeze(1)
        if lying is not None:
            lies = lying.view(-1, 1, 1)
            y, x = torch.where(lies, x, y), torch.where(lies, y, x)
        sample = torch.arange(n, device=device).view(-1, 1, 1)
        picked: Tensor = image.permute(0, 2, 3, 1)[sample, y, x]
        return picked.permute(0, 3, 1, 2).contiguous()

    def _places(self, length: Tensor, generator: torch.Generator | None) -> Tensor:
        """[n, S] long: the source place of each pixel along one axis of images of a length ([n] float)."""
        n, device = len(length), length.device
        room = (length - self.size).unsqueeze(1)
        most = min(math.floor(self.size * self.config.padding + 0.5), self.size - 1)
        beyond = (most - (room / 2).floor()).clamp(min=0)
        drawn = torch.rand((n, 1), generator=generator, device=device)
        start = (drawn * (room + 2 * beyond + 1)).floor().minimum(room + 2 * beyond) - beyond
        place = (torch.arange(self.size, device=device) + start).abs()
        last = length.unsqueeze(1) - 1
        return (last - (last - place).abs()).long()


SUPERVISED_RECIPE = ViewsRecipe(config=ShiftViewsConfig, build=ShiftViews)
"""The light augmentation of supervised training."""
