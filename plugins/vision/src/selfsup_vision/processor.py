"""The image processor: rows to ``{"image": uint8 [B, C, S, S]}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from selfsup.config import Config
from selfsup.config import Config as BaseConfig
from selfsup.data import ImagePreview, Preview, Sample, thumbnail
from selfsup.errors import SourceError
from selfsup.runtime import Findings
from selfsup.types import Batch, Info, Row
from selfsup_images.processor import SquareProcessor, auto_size
from selfsup_vision.decoding import Reading, ValueRange, decode, decode_whole, opened
from selfsup_vision.decoding.images import size_of
from selfsup_vision.decoding.pillow_files import MAX_PIXELS
from selfsup_vision.decoding.raster import Layout
from selfsup_vision.seen_images import Seen


class ImageProcessorConfig(Config):
    """Options of :class:`ImageProcessor`."""

    image_size: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Side S of the square images in pixels, at least 8; "auto": the median shorter side of 256 rows, at most 224."""
    margin: float = Field(8 / 7, ge=1, le=4)
    """Shorter side of the kept image in units of S, for images that are large enough; 8/7 is the usual 256 for 224. Training
    crops from the whole kept image; evaluation sees its central S x S."""
    max_aspect: float = Field(2.0, ge=1, le=8)
    """Longest side of the kept image in units of its shorter side; of longer images the centre is kept. 1: the central
    square."""
    channels: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Channels C, at least 1; "auto": 3 (grey is repeated, transparency laid on white) unless most of 256 rows have another
    number (2, 4 without opacity, 5, ...). If set, the pages of files with C pages are their channels."""
    value_range: ValueRange | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Black and white, [low, high], of images with more than 8 bits a channel and of floats; "auto": learned from 256 rows.
    Images with 8 bits always span 0..255."""
    max_pixels: int = Field(MAX_PIXELS, ge=64)
    """Most pixels of an image file; a larger one is a bad row, since it may fill the memory (a decompression bomb). Default:
    where Pillow stops."""
    array_layout: Layout = "auto"
    """Axis of the channels of arrays and npy files with three axes; "auto": the shorter of the first and the last axis."""

    @field_validator("value_range", mode="before")
    @classmethod
    def _two_numbers(cls, value: Any) -> Any:
        if value != "auto" and not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError(f"value_range is [low, high], such as [0,4095] for 12 bits; {value} is not")
        return value

    def model_post_init(self, context: object, /) -> None:
        """Refuse sizes that no backbone can use, and ranges that are none."""
        if self.image_size != "auto" and not 8 <= self.image_size <= 4096:
            raise ValueError(f"image_size must be in 8..4096 pixels; {self.image_size} is not")
        if self.channels != "auto" and not 1 <= self.channels <= 1024:
            raise ValueError(f"channels must be in 1..1024; {self.channels} is not")
        if self.value_range != "auto" and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range is [low, high] with low < high; {list(self.value_range)} is not")


class ImageProcessor(SquareProcessor):
    """Decode images and keep them whole: the shorter side is resized to ``margin`` x S (antialiased), with the same aspect.

    Training cuts its views from the whole image (:meth:`collate_whole`); everything else sees the central S x S
    (:meth:`collate`), 7/8 of the shorter side by default. Images of at most S are not enlarged for a margin. If all rows that
    it is fitted on are square, square images are kept; with images of S pixels there is then nothing to cut.

    A row's ``image`` may be ``{"bytes", "path"}``, an encoded file, an npy file, a path, a PIL image, an array or a tensor
    (:func:`selfsup_vision.decoding.opened`). EXIF orientation is applied; palettes, transparency (on white) and greyscale
    images become RGB; of several pages or frames the first is used. Images with more than 8 bits a channel and floats are
    scaled by one range for the whole data set, learned from the rows that it is fitted on, and stored in 8 bits. Other channels
    are kept.
    """

    modality: ClassVar[str] = "vision"
    Config: ClassVar[type[Config]] = ImageProcessorConfig
    config: ImageProcessorConfig

    window_key: ClassVar[str] = "image"
    collates_on_device = True
    adjustable: ClassVar[frozenset[str]] = frozenset(
        {"image_size", "margin", "max_aspect", "channels", "max_pixels", "array_layout"}
    )
    noun: ClassVar[str] = "image"
    fit_rows: ClassVar[int] = 256
    auto_sizes: ClassVar[tuple[int, int]] = (8, 224)

    def __init__(self, config: ImageProcessorConfig | None = None) -> None:
        super().__init__(config or ImageProcessorConfig())
        self._kept_side: int | None = None
        self._aspects = False
        self._channels = 3 if self.config.channels == "auto" else self.config.channels
        self._ranges: dict[str, ValueRange] = {}
        self._seen = Seen()

    @property
    def window_steps(self) -> int:
        """Rows (columns of images that are wider than high) that evaluation sees."""
        return self.image_size

    @property
    def kept_side(self) -> int:
        """Shorter side of the kept image in pixels."""
        return self._kept_side or self.image_size

    @property
    def keeps_aspects(self) -> bool:
        """Whether images keep their aspect; otherwise they are kept as squares."""
        return self._aspects

    def fit(self, rows: Iterable[Row]) -> Self:
        """Choose the size (if "auto"), the kept part, the channels and the range of values from rows spread over all.

        Only the headers of images with 8 bits are read.

        Raises:
            SourceError: the size is "auto" and none of these rows can be read.
        """
        self._seen = seen = Seen()
        reading = self._reading()

        def look(row: Row) -> tuple[int, int]:
            with opened(row.get("image"), reading) as image:
                seen.add(image)
                return size_of(image)

        try:
            sizes = self.sampled(rows, look)
        except SourceError:
            if self._image_size is None:
                raise
            return self
        self._ranges = {kind: fit.range() for kind, fit in seen.ranges.items()}
        if self.config.channels == "auto":
            self._channels = seen.usual_channels()
        sides = [min(size) for size in sizes]
        if self._image_size is None:
            self._image_size = auto_size(sides, *self.auto_sizes)
        largest = round(self.image_size * self.config.margin)
        self._kept_side = min(max(int(np.median(sides)), self.image_size), largest)
        self._aspects = self.config.max_aspect > 1 and any(width != height for width, height in sizes)
        return self

    def adjusted(self, config: BaseConfig) -> Self:
        """The same with another size, margin or number of channels; the kept part follows from size and margin."""
        twin = super().adjusted(config)
        largest = round(twin.image_size * twin.config.margin)
        enough = self.kept_side >= round(self.image_size * self.config.margin)
        twin._kept_side = largest if enough else min(max(self.kept_side, twin.image_size), largest)
        twin._aspects = self._aspects and twin.config.max_aspect > 1
        twin._channels = self._channels if twin.config.channels == "auto" else twin.config.channels
        return twin

    def size(self, row: Row) -> tuple[int, int]:
        """Width and height of a row's image."""
        with opened(row.get("image"), self._reading()) as image:
            return size_of(image)

    def shorter_side(self, row: Row) -> int:
        """Of its image."""
        return min(self.size(row))

    def fitted(self) -> dict[str, Any]:
        """The size, what is kept, the channels, and the ranges of values."""
        return {
            **super().fitted(),
            "kept_side": self.kept_side,
            "keeps_aspects": self.keeps_aspects,
            "channels": self._channels,
            "value_ranges": {kind: list(found) for kind, found in self._ranges.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`fitted` returned."""
        super().restore(state)
        # Older files lack these fields; their encoders saw the centre square only.
        self._kept_side = int(state.get("kept_side", self.image_size))
        self._aspects = bool(state.get("keeps_aspects", False))
        self._channels = int(state.get("channels", 3))
        self._ranges = {kind: (float(low), float(high)) for kind, (low, high) in state.get("value_ranges", {}).items()}

    def findings(self) -> Findings:
        """Size, channels and range of values, and what is left of pages and transparency."""
        config = self.config
        return self._seen.findings(
            size=self.image_size,
            kept=self.kept_side,
            channels=self._channels,
            ranges=self._ranges,
            set_size=config.image_size != "auto",
            set_channels=config.channels != "auto",
            set_range=None if config.value_range == "auto" else config.value_range,
        )

    def info(self) -> Info:
        """``image_size`` and ``channels``."""
        return {"image_size": self.image_size, "channels": self._channels}

    def example_rows(self) -> Sequence[Row]:
        """Arrays with the right number of channels if they are no colours; otherwise synthetic photos are used."""
        if self._channels in (1, 3):
            return []
        shape = (self.image_size, self.image_size, self._channels)
        return [{"image": np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)} for seed in range(4)]

    def encode(self, row: Row) -> Sample:
        """One row to ``{"image": uint8 [C, K, K]}``, K the kept side.

        With aspects to ``{"image": uint8 [L, C, K], "lying": bool}``, longer side first; ``lying`` where that is the width.
        """
        value = row.get("image")
        if not self.keeps_aspects:
            return {"image": decode(value, self.kept_side, self._reading())}
        image, lying = decode_whole(value, self.kept_side, self.config.max_aspect, self._reading())
        return {"image": image, "lying": np.asarray(lying)}

    def preview(self, row: Row) -> Sequence[Preview]:
        """A thumbnail of the kept image."""
        sample = self.encode(row)
        image = sample["image"]
        if self.keeps_aspects:
            image = image.transpose(1, 2, 0) if sample["lying"] else image.transpose(1, 0, 2)
        return [ImagePreview(thumbnail(image))]

    def _reading(self) -> Reading:
        config = self.config
        return Reading(
            channels=self._channels,
            given_channels=None if config.channels == "auto" else config.channels,
            layout=config.array_layout,
            value_range=None if config.value_range == "auto" else config.value_range,
            learned=self._ranges,
            max_pixels=config.max_pixels,
            remark=self.remark,
        )

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """The central S x S of each image: ``{"image": uint8 [B, C, S, S]}``."""
        if "lying" not in samples:
            return {"image": _central(torch.as_tensor(samples["image"]), self.image_size)}
        # If a window was read, the longer side is already cut.
        image, lying = self.cut(samples)["image"], samples["lying"]
        assert isinstance(image, Tensor)
        assert isinstance(lying, Tensor)
        image = _central(image.transpose(1, 2), self.image_size)
        image[lying] = image[lying].transpose(2, 3)
        return {"image": image}

    def collate_whole(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """The whole kept images: ``{"image": uint8 [B, C, K, K]}``.

        With aspects the longer side comes first, and shorter images are padded with black: ``{"image": uint8 [B, C, L, K],
        "size": int64 [B, 2]}``, the true height and width. Images that are wider than high are transposed.
        """
        images = samples["image"]
        if "lying" not in samples:
            return {"image": torch.as_tensor(images)}
        lying = samples["lying"]
        assert isinstance(lying, Tensor)
        if isinstance(images, Tensor):  # all have one shape
            longer = torch.full((len(images),), images.shape[1], device=images.device)
            whole = images.transpose(1, 2).contiguous()
        else:
            longer = torch.tensor([len(image) for image in images])
            whole = torch.zeros((len(images), images[0].shape[1], int(longer.max()), self.kept_side), dtype=torch.uint8)
            for place, image in enumerate(images):
                whole[place, :, : len(image)] = image.transpose(0, 1)
        shorter = torch.full_like(longer, self.kept_side)
        height, width = torch.where(lying, shorter, longer), torch.where(lying, longer, shorter)
        return {"image": whole, "size": torch.stack([height, width], dim=1)}


def _central(image: Tensor, size: int) -> Tensor:
    """The central square of [..., H, W], copied unless it is everything."""
    top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
    return image[..., top : top + size, left : left + size].contiguous()
