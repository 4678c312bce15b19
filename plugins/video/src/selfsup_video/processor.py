"""The video processor: rows to ``{"video": uint8 [B, T, 3, S, S]}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.data.processor import Sample
from selfsup.data.segments import segment_of
from selfsup.images.processor import SquareProcessor
from selfsup.types import Batch, Info, Row
from selfsup_video.clips import clip_indices, stretch_indices
from selfsup_video.decoding import decode, shorter_side

_SMALLEST = 16


class VideoProcessorConfig(Config):
    """Options of :class:`VideoProcessor`."""

    frames: int = Field(16, ge=1, le=1024)
    """Frames n of a clip; 16 in most papers."""
    stride: int = Field(2, ge=1, le=1024)
    """Frames of the source from one kept frame to the next; shrunk where a video is too short for it."""
    clips: int = Field(1, ge=1, le=256)
    """Clips K of each video, spread evenly and joined along time, T = K * n; 10 in many papers' tests."""
    keep: float = Field(4.0, ge=1, le=1000)
    """Most that is stored of a longer video, in lengths of a clip: training takes a random clip of it in every epoch.

    1 stores the embedded clip alone, which then serves the whole run; so do several ``clips``.
    """
    image_size: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Side S of the square frames in pixels, 16 to 1024; "auto": the median shorter side of 64 rows, at most 112."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse sizes that no backbone can use."""
        if self.image_size != "auto" and not _SMALLEST <= self.image_size <= 1024:
            raise ValueError(f"image_size must lie in {_SMALLEST}..1024 pixels; {self.image_size} does not")


class VideoProcessor(SquareProcessor):
    """Decodes the frames of K evenly spread clips, resizes their shorter side to S (antialiased) and cuts the centre square.

    Of one clip a video, up to ``keep`` times its length is stored around it (:attr:`~selfsup.data.Processor.window_key`);
    training draws a clip from that in every epoch, and the middle one is embedded.

    A row's ``video`` may be ``{"bytes", "path"}``, an encoded file, a path, a folder of frames or an array
    (:func:`selfsup_video.decoding.decode`); with ``start`` and ``end`` (or ``offset`` and ``duration``) in seconds it is that
    part of the file. Where a video is shorter than a clip, the stride is shrunk; where it has
    fewer than n frames, its last one is repeated, and the batch says by ``length`` ([B] long) how many frames of each clip are
    real. A batch of whole clips has no such key. Sound is left out.
    """

    modality: ClassVar[str] = "video"
    window_key: ClassVar[str] = "video"
    batch_size: ClassVar[int] = 32
    Config: ClassVar[type[Config]] = VideoProcessorConfig
    config: VideoProcessorConfig

    noun: ClassVar[str] = "video"
    fit_rows: ClassVar[int] = 64
    auto_sizes: ClassVar[tuple[int, int]] = (_SMALLEST, 112)

    def __init__(self, config: VideoProcessorConfig | None = None) -> None:
        super().__init__(config or VideoProcessorConfig())

    def shorter_side(self, row: Row) -> int:
        """Of its frames."""
        return shorter_side(row.get("video"))

    def info(self) -> Info:
        """``frames`` (n), ``clips`` (K), ``image_size`` and ``channels``."""
        return {"frames": self.config.frames, "clips": self.config.clips, "image_size": self.image_size, "channels": 3}

    @property
    def window_steps(self) -> int:
        """T."""
        return self.config.frames * self.config.clips

    def encode(self, row: Row) -> Sample:
        """One row to ``{"video": uint8 [t, 3, S, S], "length": int64 []}`` with T <= t <= ``keep * T``."""
        frames, real = self.config.frames, 0

        def choose(n_source: int) -> np.ndarray[Any, np.dtype[np.int64]]:
            nonlocal real
            real = min(n_source, frames)
            if self.config.clips > 1:
                return clip_indices(n_source, frames, self.config.stride, self.config.clips)
            return stretch_indices(n_source, frames, self.config.stride, int(self.config.keep * frames))

        video = decode(row.get("video"), self.image_size, choose, segment_of(row))
        return {"video": video, "length": np.asarray(real, dtype=np.int64)}

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join clips; of longer videos the clip that is embedded. ``length`` stays where a clip is not whole."""
        batch = super().collate(samples)
        whole = bool((batch["length"] >= self.config.frames).all())
        return {key: value for key, value in batch.items() if key != "length" or not whole}
