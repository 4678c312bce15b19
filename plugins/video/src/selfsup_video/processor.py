"""The video processor: rows to ``{"video": uint8 [B, T, 3, S, S]}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.data import ImagePreview, Preview, Sample, segment_of, thumbnail
from selfsup.errors import SourceError
from selfsup.runtime import Findings
from selfsup.types import Batch, Info, Row
from selfsup_images.processor import SquareProcessor, auto_size
from selfsup_video.clips import clip_indices, stretch_indices
from selfsup_video.decoding import Header, decode, read_header
from selfsup_video.decoding.files import MAX_PIXELS

_SMALLEST = 16
_UNLIKE = 1.5
"""Ratio of the fastest to the slowest frame rate from which on there is a warning."""


class VideoProcessorConfig(Config):
    """Options of :class:`VideoProcessor`."""

    frames: int = Field(16, ge=1, le=1024)
    """Frames n of a clip; 16 in most papers."""
    stride: int = Field(2, ge=1, le=1024)
    """Frames of the source from one kept frame to the next; smaller for videos that are too short for it."""
    clips: int = Field(1, ge=1, le=256)
    """Clips K of each video, spread evenly and joined along time, T = K * n; 10 in many papers' tests."""
    keep: float = Field(4.0, ge=1, le=1000)
    """Largest part of a longer video that is stored, in clip lengths; training takes a random clip of it in each epoch.

    With 1, or with several ``clips``, only the embedded clips are stored and used in the whole run.
    """
    image_size: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Side S of the square frames in pixels, 16 to 1024; "auto": the median shorter side of 64 rows, at most 112."""

    max_pixels: int = Field(MAX_PIXELS, ge=256)
    """Most pixels of a frame of a video file, 8192 x 8192 by default; a file with larger ones is a bad row, since the size in a
    damaged header may exceed the memory."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse sizes that no backbone can use."""
        if self.image_size != "auto" and not _SMALLEST <= self.image_size <= 1024:
            raise ValueError(f"image_size must be in {_SMALLEST}..1024 pixels; {self.image_size} is not")


class VideoProcessor(SquareProcessor):
    """Decode the frames of K evenly spread clips, resize their shorter side to S (antialiased) and cut the centre square.

    With one clip, up to ``keep`` times its length is stored around it (:attr:`~selfsup.data.Processor.window_key`); training
    draws a clip from that in each epoch, and the middle one is embedded.

    A row's ``video`` may be ``{"bytes", "path"}``, an encoded file, a path, a folder of frames or an array
    (:func:`selfsup_video.decoding.decode`); with ``start`` and ``end`` (or ``offset`` and ``duration``) in seconds it is that
    part of the file. A video shorter than a clip gets a smaller stride; one with fewer than n
    frames repeats its last frame, and ``length`` ([B] long) is the number of real frames of each clip. A batch of whole clips
    has no such key. Sound is ignored.
    """

    modality: ClassVar[str] = "video"
    window_key: ClassVar[str] = "video"
    batch_size: ClassVar[int] = 32
    Config: ClassVar[type[Config]] = VideoProcessorConfig
    config: VideoProcessorConfig

    adjustable: ClassVar[frozenset[str]] = frozenset({"frames", "stride", "clips", "keep", "image_size", "max_pixels"})
    noun: ClassVar[str] = "video"
    fit_rows: ClassVar[int] = 64
    auto_sizes: ClassVar[tuple[int, int]] = (_SMALLEST, 112)

    def __init__(self, config: VideoProcessorConfig | None = None) -> None:
        super().__init__(config or VideoProcessorConfig())
        self._seen: list[Header] = []

    def fit(self, rows: Iterable[Row]) -> Self:
        """With ``image_size="auto"``, choose the size from 64 rows, spread over all of them; only their headers are read.

        Raises:
            SourceError: the size is "auto" and none of these rows can be read.
        """
        try:
            self._seen = self.sampled(rows, _header)
        except SourceError:
            if self._image_size is None:
                raise
            return self
        if self._image_size is None:
            self._image_size = auto_size([header.shorter_side for header in self._seen], *self.auto_sizes)
        return self

    def shorter_side(self, row: Row) -> int:
        """Of its frames."""
        return read_header(row.get("video")).shorter_side

    def findings(self) -> Findings:
        """Size, length and rate, and what was seen of the rows."""
        config, found = self.config, Findings()
        sides = sorted(header.shorter_side for header in self._seen)
        rates = sorted(header.rate for header in self._seen if header.rate)
        lengths = sorted(header.frames for header in self._seen if header.frames)
        seen = f"; shorter sides of {sides[0]} to {sides[-1]}" if sides else ""
        found.add("image size", f"{self.image_size} pixels{seen} (--set processor.image_size=)")
        span = (config.frames - 1) * config.stride + 1
        clip = f"{config.frames} frames, {config.stride} apart" + (f", {config.clips} of a video" if config.clips > 1 else "")
        if lengths:
            clip += f"; videos have {lengths[0]} to {lengths[-1]} frames"
            short = sum(length < span for length in lengths)
            clip += f", {short} of {len(lengths)} too few for the stride, which is shrunk" if short else ""
        found.add("clips", f"{clip} (--set processor.frames=, processor.stride=)")
        if rates:
            low, high = rates[0], rates[-1]
            found.add("frame rate", f"{low:.4g} to {high:.4g} a second; a clip lasts {span / high:.3g} to {span / low:.3g} s")
            if high > _UNLIKE * low:
                found.warn(
                    f"The videos have {low:.4g} to {high:.4g} frames a second, and the stride counts frames, so that a motion "
                    "looks faster in some than in others. Convert them to one rate if speed matters."
                )
        return found

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

        video = decode(row.get("video"), self.image_size, choose, segment_of(row), max_pixels=self.config.max_pixels)
        return {"video": video, "length": np.asarray(real, dtype=np.int64)}

    def preview(self, row: Row) -> Sequence[Preview]:
        """The first, the middle and the last frame of the stored part, side by side."""
        sample = self.encode(row)
        frames, real = sample["video"], int(sample["length"])
        # A video shorter than a clip is padded.
        last = (real if real < self.config.frames else len(frames)) - 1
        chosen = [frames[place] for place in sorted({0, last // 2, last})]
        return [ImagePreview(np.concatenate([thumbnail(frame) for frame in chosen], axis=1))]

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join clips, for longer videos the embedded clip; ``length`` only if a clip is not whole."""
        batch = super().collate(samples)
        whole = bool((batch["length"] >= self.config.frames).all())
        return {key: value for key, value in batch.items() if key != "length" or not whole}


def _header(row: Row) -> Header:
    """Of a row's video, or of the part of a file that it is."""
    header, segment = read_header(row.get("video")), segment_of(row)
    if segment is None or not header.rate or not header.frames:
        return header
    start, end = segment.within(header.frames / header.rate, "video")
    return header._replace(frames=max(round((end - start) * header.rate), 1))
