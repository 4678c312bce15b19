"""The video processor: rows to ``{"video": uint8 [B, T, 3, S, S]}``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from selfsup.config import Config
from selfsup.data.processor import Processor, Sample
from selfsup.data.processor_state import reading_state, write_state
from selfsup.errors import BadRowError, SourceError
from selfsup.types import Info, Row
from selfsup_video.clips import clip_indices
from selfsup_video.decoding import decode, shorter_side

_FIT_ROWS = 64
_SMALLEST, _LARGEST_AUTO = 16, 112
_FILE = "video_processor.json"


class VideoProcessorConfig(Config):
    """Options of :class:`VideoProcessor`."""

    frames: int = Field(16, ge=1, le=1024)
    """Frames n of a clip; 16 in most papers."""
    stride: int = Field(2, ge=1, le=1024)
    """Frames of the source from one kept frame to the next; shrunk where a video is too short for it."""
    clips: int = Field(1, ge=1, le=256)
    """Clips K of each video, spread evenly and joined along time, T = K * n; 10 in many papers' tests."""
    image_size: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Side S of the square frames in pixels, 16 to 1024; "auto": the median shorter side of 64 rows, at most 112."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse sizes that no backbone can use."""
        if self.image_size != "auto" and not _SMALLEST <= self.image_size <= 1024:
            raise ValueError(f"image_size must lie in {_SMALLEST}..1024 pixels; {self.image_size} does not")


class VideoProcessor(Processor):
    """Decodes the frames of K evenly spread clips, resizes their shorter side to S (antialiased) and cuts the centre square.

    A row's ``video`` may be ``{"bytes", "path"}``, an encoded file, a path, a folder of frames or an array
    (:func:`selfsup_video.decoding.decode`). Where a video is shorter than a clip, the stride is shrunk; where it has
    fewer than n frames, its last one is repeated (:func:`selfsup_video.clips.clip_indices`). Sound is left out.
    """

    modality: ClassVar[str] = "video"
    Config: ClassVar[type[Config]] = VideoProcessorConfig
    config: VideoProcessorConfig

    def __init__(self, config: VideoProcessorConfig | None = None) -> None:
        super().__init__(config or VideoProcessorConfig())
        size = self.config.image_size
        self._image_size: int | None = None if size == "auto" else size

    @property
    def image_size(self) -> int:
        """S in pixels; with "auto" only after :meth:`fit`."""
        if self._image_size is None:
            raise ValueError("image_size is 'auto' and the processor has not been fitted: call fit(rows) first")
        return self._image_size

    def fit(self, rows: Iterable[Row]) -> Self:
        """With ``image_size="auto"``, choose the size from at most 64 rows (only their headers are read).

        Raises:
            SourceError: none of these rows holds a readable video.
        """
        if self._image_size is not None:
            return self
        sides: list[int] = []
        reason = "there are no rows"
        for row in islice(rows, _FIT_ROWS):
            try:
                sides.append(shorter_side(row.get("video")))
            except BadRowError as error:
                reason = str(error)
        if not sides:
            raise SourceError(f"The image size cannot be chosen: no readable video among the first rows ({reason}).")
        self._image_size = auto_size(sides)
        return self

    def info(self) -> Info:
        """``frames`` (n), ``clips`` (K), ``image_size`` and ``channels``."""
        return {"frames": self.config.frames, "clips": self.config.clips, "image_size": self.image_size, "channels": 3}

    def encode(self, row: Row) -> Sample:
        """One row to ``{"video": uint8 [T, 3, S, S]}``."""

        def choose(n_source: int) -> np.ndarray[Any, np.dtype[np.int64]]:
            return clip_indices(n_source, self.config.frames, self.config.stride, self.config.clips)

        return {"video": decode(row.get("video"), self.image_size, choose)}

    def save(self, directory: Path) -> None:
        """Write the config and the chosen size as JSON."""
        write_state(Path(directory) / _FILE, self.config, image_size=self.image_size)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        with reading_state(Path(directory) / _FILE, "video", VideoProcessorConfig) as (config, state):
            processor = cls(config)
            processor._image_size = int(state["image_size"])
        return processor


def auto_size(sides: list[int]) -> int:
    """The image size for these shorter sides: their median, in 16..112; above 64 rounded down to a multiple of 16."""
    size = min(max(int(np.median(sides)), _SMALLEST), _LARGEST_AUTO)
    return size if size <= 64 else size - size % 16
