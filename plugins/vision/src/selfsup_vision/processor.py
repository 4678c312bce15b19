"""The image processor: rows to ``{"image": uint8 [B, 3, S, S]}``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from selfsup.config import Config
from selfsup.data.processor import Sample
from selfsup.images.processor import SquareProcessor
from selfsup.types import Info, Row
from selfsup_vision.decoding import decode, open_image


class ImageProcessorConfig(Config):
    """Options of :class:`ImageProcessor`."""

    image_size: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Side S of the square images in pixels, at least 8; "auto": the median shorter side of 256 rows, at most 224."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse sizes that no backbone can use."""
        if self.image_size != "auto" and not 8 <= self.image_size <= 4096:
            raise ValueError(f"image_size must lie in 8..4096 pixels; {self.image_size} does not")


class ImageProcessor(SquareProcessor):
    """Decodes images, resizes the shorter side to S (antialiased) and cuts the centre square.

    A row's ``image`` may be ``{"bytes", "path"}``, encoded bytes, a path, a PIL image or an array
    (:func:`selfsup_vision.decoding.open_image`). EXIF orientation is applied; palettes, transparency (on white), 16-bit and
    greyscale images become RGB; of an animation the first frame is taken.
    """

    modality: ClassVar[str] = "vision"
    Config: ClassVar[type[Config]] = ImageProcessorConfig
    config: ImageProcessorConfig

    noun: ClassVar[str] = "image"
    fit_rows: ClassVar[int] = 256
    auto_sizes: ClassVar[tuple[int, int]] = (8, 224)

    def __init__(self, config: ImageProcessorConfig | None = None) -> None:
        super().__init__(config or ImageProcessorConfig())

    def shorter_side(self, row: Row) -> int:
        """Of its image."""
        with open_image(row.get("image")) as image:
            return min(image.size)

    def info(self) -> Info:
        """``image_size`` and ``channels``."""
        return {"image_size": self.image_size, "channels": 3}

    def encode(self, row: Row) -> Sample:
        """One row to ``{"image": uint8 [3, S, S]}``."""
        return {"image": decode(row.get("image"), self.image_size)}
