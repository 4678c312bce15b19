"""The options that views of images and of videos share, with the values of SimCLR."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from selfsup.config import Config, idle
from selfsup_images.pipeline import ViewOptions

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class CropAndColorConfig(Config):
    """Number, size, crop and colours of views; the values of SimCLR (Chen et al. 2020, arXiv:2002.05709) and of CVRL's code."""

    n_global: int = Field(2, ge=1)
    """Global views of each sample; 2 in the papers."""
    n_local: int = Field(0, ge=0)
    """Local views of each sample: small crops at a small size; 0 in the papers, 6 in SwAV, 8 in DINO."""
    global_size: int | None = Field(None, ge=8)
    """Side of a global view in pixels; None: the processor's image size."""
    local_size: int | None = Field(None, ge=4)
    """Side of a local view in pixels; None: 3/7 of the image size in whole tokens (96 at 224, 48 at 112, 12 at 32)."""
    global_scale: Range = (0.08, 1.0)
    """Smallest and largest area of a global crop, as a fraction of the image; 0.08..1 in SimCLR, 0.3..1 in CVRL."""
    local_scale: Range = (0.05, 0.4)
    """Smallest and largest area of a local crop; 0.05..0.4 in DINO."""
    ratio: Range = (3 / 4, 4 / 3)
    """Smallest and largest width/height of a crop; 3/4..4/3 in SimCLR, 0.5..2 in CVRL."""
    flip_p: Probability = 0.5
    """Probability of a mirrored view; 0.5 in the papers. 0 where left and right matter."""
    jitter_p: Probability = 0.8
    """Probability of colour jitter; 0.8 in the papers."""
    brightness: float = Field(0.8, ge=0)
    """Amount of brightness jitter (factor 1 - x .. 1 + x); 0.8 in the papers."""
    contrast: float = Field(0.8, ge=0)
    """Amount of contrast jitter; 0.8 in the papers."""
    saturation: float = Field(0.8, ge=0)
    """Amount of saturation jitter; 0.8 in the papers."""
    hue: float = Field(0.2, ge=0, le=0.5)
    """Amount of hue jitter in turns; 0.2 in the papers."""
    grey_p: Probability = 0.2
    """Probability of a greyscale view; 0.2 in the papers."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur in pixels; 0.1..2 in the papers."""
    blur_min_size: int = Field(64, ge=4)
    """Smallest side of global views in pixels at which views are blurred; SimCLR does not blur at 32 (appendix B.9)."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name in ("global_scale", "local_scale", "ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not (0 < low <= high) or (name.endswith("scale") and high > 1):
                raise ValueError(f"{name}=({low}, {high}) is no range: 0 < low <= high" + (" <= 1" * name.endswith("scale")))
        return self

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        jitter = ("jitter_strength", "brightness", "contrast", "saturation", "hue")
        return {
            **idle("views.n_local is 0", self.n_local == 0, "local_size", "local_scale"),
            **idle("views.jitter_p is 0", self.jitter_p == 0, *jitter),
        }

    def options(
        self, size: int, scale: Range, *, strength: float, blur_p: float, solarize_p: float = 0.0, colors: bool = True
    ) -> ViewOptions:
        """What is done to a view.

        Args:
            size: its side in pixels.
            scale: smallest and largest area of its crop.
            strength: factor on the amounts of jitter.
            blur_p: probability of blur.
            solarize_p: probability of solarization.
            colors: False for images without colours: saturation, hue and greyscale are left out.
        """
        amounts = (self.brightness * strength, self.contrast * strength)
        colored = (self.saturation * strength, min(self.hue * strength, 0.5)) if colors else (0.0, 0.0)
        return ViewOptions(
            size, scale, self.ratio, self.flip_p, self.jitter_p, (*amounts, *colored), self.grey_p if colors else 0.0,
            blur_p, self.blur_sigma, solarize_p,
        )  # fmt: skip
