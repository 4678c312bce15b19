"""The default views of images: those of SimCLR, with options for everything that other methods change."""

from __future__ import annotations

import math
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from selfsup.config import Config, idle
from selfsup.tasks import Views, ViewsRecipe
from selfsup.types import Batch, Info
from selfsup_images.crop import box_locations, sides
from selfsup_images.pipeline import ViewOptions, draw, make_view
from selfsup_vision.sizes import local_size_for

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class ImageViewsConfig(Config):
    """Options of :class:`ImageViews`; the defaults are SimCLR's (Chen et al. 2020, arXiv:2002.05709, appendix A and B.9)."""

    n_global: int = Field(2, ge=1)
    """Global views of each image; 2 in the paper."""
    n_local: int = Field(0, ge=0)
    """Local views of each image: small crops at a small size; 0 in the paper, 6 in SwAV, 8 in DINO."""
    global_size: int | None = Field(None, ge=8)
    """Side of a global view in pixels; None: the processor's image size."""
    local_size: int | None = Field(None, ge=4)
    """Side of a local view in pixels; None: 3/7 of the image size in whole tokens (96 at 224, 12 at 32)."""
    global_scale: Range = (0.08, 1.0)
    """Smallest and largest area of a global crop, as a fraction of the image; 0.08..1 in the paper."""
    local_scale: Range = (0.05, 0.4)
    """Smallest and largest area of a local crop; 0.05..0.4 in DINO."""
    ratio: Range = (3 / 4, 4 / 3)
    """Smallest and largest width/height of a crop; 3/4..4/3 in the paper."""
    flip_p: Probability = 0.5
    """Probability of a mirrored view; 0.5 in the paper."""
    jitter_p: Probability = 0.8
    """Probability of colour jitter; 0.8 in the paper."""
    jitter_strength: float | None = Field(None, ge=0)
    """Factor on the four amounts below; None: 1, or 0.5 for images below 64 pixels, as in the paper (appendix B.9)."""
    brightness: float = Field(0.8, ge=0)
    """Amount of brightness jitter (factor 1 - x .. 1 + x); 0.8 in the paper."""
    contrast: float = Field(0.8, ge=0)
    """Amount of contrast jitter; 0.8 in the paper."""
    saturation: float = Field(0.8, ge=0)
    """Amount of saturation jitter; 0.8 in the paper."""
    hue: float = Field(0.2, ge=0, le=0.5)
    """Amount of hue jitter in turns; 0.2 in the paper."""
    grey_p: Probability = 0.2
    """Probability of a greyscale view; 0.2 in the paper."""
    blur_p: tuple[Probability, ...] = Field((0.5,), min_length=1)
    """Probability of blur for each global view in turn, the last for all that follow; 0.5 in the paper, (1, 0.1) in BYOL."""
    local_blur_p: Probability = 0.5
    """Probability of Gaussian blur for local views; 0.5 in SwAV and DINO."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur in pixels; 0.1..2 in the paper."""
    blur_min_size: int = Field(64, ge=4)
    """Where global views have a side below so many pixels nothing is blurred; the paper does not at 32 (appendix B.9)."""
    solarize_p: tuple[Probability, ...] = Field((0.0,), min_length=1)
    """Probability of solarization for each global view, the last for all that follow; 0 in the paper, (0, 0.2) in BYOL."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name in ("global_scale", "local_scale", "ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not (0 < low <= high) or (name.endswith("scale") and high > 1):
                raise ValueError(f"{name}=({low}, {high}) is no range: 0 < low <= high" + (" <= 1" * name.endswith("scale")))
        return self

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        blurs = max(self.blur_p) > 0 or (self.n_local > 0 and self.local_blur_p > 0)
        jitter = ("jitter_strength", "brightness", "contrast", "saturation", "hue")
        return {
            **idle("views.n_local is 0", self.n_local == 0, "local_size", "local_scale", "local_blur_p"),
            **idle("views.jitter_p is 0", self.jitter_p == 0, *jitter),
            **idle("nothing is blurred", not blurs, "blur_sigma", "blur_min_size"),
        }


class ImageViews(Views):
    """Random views of a batch of images, on its device, each sample with its own parameters.

    A view holds ``image`` (float32 [B, C, S, S] in 0..1) and ``crop`` (see :class:`selfsup.tasks.Views`). Every step equals
    torchvision's function of the same name on each sample. Blur and solarization hit a fixed number of samples in a batch (each
    sample with the stated probability), so that the others cost nothing. Images of other channels than red, green and blue have
    no saturation, hue and greyscale; brightness and contrast change all their channels together. In training, crops are cut
    from the whole image, not from the centre that evaluation sees
    (:meth:`selfsup_vision.processor.ImageProcessor.collate_whole`).
    """

    takes_whole = True

    def __init__(self, config: ImageViewsConfig, info: Info) -> None:
        super().__init__()
        self.n_global, self.n_local = config.n_global, config.n_local
        image_size = int(info["image_size"])
        colors = int(info.get("channels", 3)) == 3
        strength = config.jitter_strength
        if strength is None:
            strength = 0.5 if image_size < 64 else 1.0

        global_size = config.global_size or image_size
        local_size = config.local_size or local_size_for(global_size)

        def options(size: int, scale: Range, blur_p: float, solarize_p: float) -> ViewOptions:
            return ViewOptions(
                size=size,
                scale=scale,
                ratio=config.ratio,
                flip_p=config.flip_p,
                jitter_p=config.jitter_p,
                jitter=(
                    config.brightness * strength,
                    config.contrast * strength,
                    config.saturation * strength if colors else 0.0,
                    min(config.hue * strength, 0.5) if colors else 0.0,
                ),
                grey_p=config.grey_p if colors else 0.0,
                blur_p=blur_p if global_size >= config.blur_min_size else 0.0,
                blur_sigma=config.blur_sigma,
                solarize_p=solarize_p,
            )

        self.views = [
            options(global_size, config.global_scale, _nth(config.blur_p, i), _nth(config.solarize_p, i))
            for i in range(self.n_global)
        ]
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
        self.views += [options(local_size, config.local_scale, config.local_blur_p, 0.0) for _ in range(self.n_local)]

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views of ``batch["image"]`` ([B, C, H, W], uint8 or float in 0..1), then ``n_local`` smaller ones.

        ``batch["size"]`` ([B, 2]), if there is one, says how high and wide each image is; what is wider than high lies.
        """
        image = batch["image"]
        shape, lying = size_of(batch)
        made = []
        for options in self.views:
            drawn = draw(options, image.shape[0], shape, generator, image.device)
            made.append(
                {"image": make_view(image, options, drawn, lying), "crop": box_locations(drawn.boxes, shape, drawn.flip)}
            )
        return made


def size_of(batch: Batch) -> tuple[tuple[int, int] | Tensor, Tensor | None]:
    """Height and width of the images of a batch, or of each ([B, 2]), and which lie ([B] bool) if any can."""
    if "size" in batch:
        return batch["size"], batch["size"][:, 1] > batch["size"][:, 0]
    return (batch["image"].shape[2], batch["image"].shape[3]), None


def _nth(values: tuple[float, ...], index: int) -> float:
    """The value for a view; the last one for all views beyond."""
    return values[min(index, len(values) - 1)]


def build_views(config: ImageViewsConfig, info: Info) -> ImageViews:
    """Make the views."""
    return ImageViews(config, info)


RECIPE = ViewsRecipe(config=ImageViewsConfig, build=build_views)
"""The default views of images."""


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
    """The light augmentation of supervised training: a random place of the square that is seen, and a random flip.

    The square lies anywhere in a whole image (He et al. 2015 crop 224 pixels from 256 to 480), and at least ``padding`` to each
    side of the centre, where the image ends before that mirrored at its edges. He et al. pad small images with zeros; mirrored
    edges leave no dark bars, which a frozen or small network would take for content. Pixels are moved, never interpolated.
    """

    takes_whole = True

    def __init__(self, config: ShiftViewsConfig, info: Info) -> None:
        super().__init__()
        self.size = int(info["image_size"])
        self.n_global, self.n_local = config.n_global, 0
        self.config = config

    @torch.no_grad()
    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """``n_global`` views [B, C, S, S] of ``batch["image"]``, of its type."""
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


def build_shift_views(config: ShiftViewsConfig, info: Info) -> ShiftViews:
    """Make the views of supervised training."""
    return ShiftViews(config, info)


SUPERVISED_RECIPE = ViewsRecipe(config=ShiftViewsConfig, build=build_shift_views)
"""The light augmentation of supervised training."""
