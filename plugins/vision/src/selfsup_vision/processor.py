"""The image processor: rows to ``{"image": uint8 [B, 3, S, S]}``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from selfsup.config import Config
from selfsup.data.processor import Processor, Sample
from selfsup.data.processor_state import reading_state, write_state
from selfsup.errors import BadRowError, SourceError
from selfsup.types import Info, Row
from selfsup_vision.decoding import decode, open_image

_FIT_ROWS = 256
_LARGEST_AUTO = 224
_FILE = "image_processor.json"


class ImageProcessorConfig(Config):
    """Options of :class:`ImageProcessor`."""

    image_size: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Side S of the square images in pixels, at least 8; "auto": the median shorter side of 256 rows, at most 224."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse sizes that no backbone can use."""
        if self.image_size != "auto" and not 8 <= self.image_size <= 4096:
            raise ValueError(f"image_size must lie in 8..4096 pixels; {self.image_size} does not")


class ImageProcessor(Processor):
    """Decodes images, resizes the shorter side to S (antialiased) and cuts the centre square.

    A row's ``image`` may be ``{"bytes", "path"}``, encoded bytes, a path, a PIL image or an array
    (:func:`selfsup_vision.decoding.open_image`). EXIF orientation is applied; palettes, transparency (on white), 16-bit and
    greyscale images become RGB; of an animation the first frame is taken.
    """

    modality: ClassVar[str] = "vision"
    Config: ClassVar[type[Config]] = ImageProcessorConfig
    config: ImageProcessorConfig

    def __init__(self, config: ImageProcessorConfig | None = None) -> None:
        super().__init__(config or ImageProcessorConfig())
        size = self.config.image_size
        self._image_size: int | None = None if size == "auto" else size

    @property
    def image_size(self) -> int:
        """S in pixels; with "auto" only after :meth:`fit`."""
        if self._image_size is None:
            raise ValueError("image_size is 'auto' and the processor has not been fitted: call fit(rows) first")
        return self._image_size

    def fit(self, rows: Iterable[Row]) -> Self:
        """With ``image_size="auto"``, choose the size from at most 256 rows (only the headers of files are read).

        Raises:
            SourceError: none of these rows holds a readable image.
        """
        if self._image_size is not None:
            return self
        sides: list[int] = []
        reason = "there are no rows"
        for row in islice(rows, _FIT_ROWS):
            try:
                with open_image(row.get("image")) as image:
                    sides.append(min(image.size))
            except BadRowError as error:
                reason = str(error)
        if not sides:
            raise SourceError(f"The image size cannot be chosen: no readable image among the first rows ({reason}).")
        self._image_size = auto_size(sides)
        return self

    def info(self) -> Info:
        """``image_size`` and ``channels``."""
        return {"image_size": self.image_size, "channels": 3}

    def encode(self, row: Row) -> Sample:
        """One row to ``{"image": uint8 [3, S, S]}``."""
        return {"image": decode(row.get("image"), self.image_size)}

    def save(self, directory: Path) -> None:
        """Write the config and the chosen size as JSON."""
        write_state(Path(directory) / _FILE, self.config, image_size=self.image_size)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        with reading_state(Path(directory) / _FILE, "image", ImageProcessorConfig) as (config, state):
            processor = cls(config)
            processor._image_size = int(state["image_size"])
        return processor


def auto_size(sides: list[int]) -> int:
    """The image size for these shorter sides: their median, in 8..224; above 64 rounded down to a multiple of 16."""
    size = min(max(int(np.median(sides)), 8), _LARGEST_AUTO)
    return size if size <= 64 else size - size % 16
