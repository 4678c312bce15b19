"""Decode video files by FFmpeg (PyAV), converting only the wanted frames and seeking over large gaps."""

from __future__ import annotations

import functools
import io
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from selfsup.data import Segment
from selfsup.errors import BadRowError

_UNTIMED = ("avi",)
"""Containers without times of frames; only the order of decoding is known."""
_WORTH_A_SEEK = 16
"""Number of unneeded frames from which on seeking to a key frame is faster than decoding them."""
_TRIES = 4
"""How often a video that is shorter than its packets say is read again."""
_ROUNDING = 1e-3
"""Seconds by which a frame may precede the start of its segment, since times are rounded."""
MAX_PIXELS = 1 << 26
"""Pixels of the largest frame unless the user sets more, 8192 x 8192: the size in a damaged header may exceed the memory."""
_MOST_ASPECT = 32
"""Largest ratio of the longer side of a frame to the shorter one, in square pixels."""
_KEEP_BAD_METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""Options of ``av.open`` that read a file whose title is not UTF-8. PyAV 19 always does, without the option."""


class Header(NamedTuple):
    """Properties of a video that are known without decoding it."""

    shorter_side: int
    """In pixels."""
    frames: int | None
    """Number of frames if the file states it; not always right."""
    rate: float | None
    """Frames a second, if the file states it."""


class _Timeline:
    """The times of the frames of a stream, and its key frames."""

    def __init__(
        self, packets: list[tuple[int | None, bool]], timed: bool, base: Fraction | None, rate: Fraction | None
    ) -> None:
        times = [time for time, _ in packets if time is not None]
        self.by_time = timed and len(times) == len(packets) and len(set(times)) == len(times)
        """Whether frames are identified by their time; otherwise they are counted, without seeking."""
        self.marks = sorted(times) if self.by_time else list(range(len(packets)))
        """The time or number of each frame, in the order of display."""
        self._step = base if self.by_time else 1 / rate if rate else None
        """Seconds per unit of the marks; None if unknown."""
        self.places = {mark: place for place, mark in enumerate(self.marks)}
        self._keys = sorted(time for time, is_key in packets if is_key and time is not None) if self.by_time else []

    def within(self, segment: Segment) -> tuple[int, int]:
        """Places of the first frame of a segment and of the first after it; times count from the first frame.

        Raises:
            BadRowError: the segment lies outside the video, or the file has no times of frames.
        """
        if not self._step:
            raise BadRowError("the video has no times of frames, so a part of it cannot be cut out by seconds")
        times = [float((mark - self.marks[0]) * self._step) for mark in self.marks]
        interval = times[-1] / (len(times) - 1) if len(times) > 1 else float(self._step)
        start, end = segment.within(times[-1] + interval, "video")
        slack = min(_ROUNDING, interval / 2)
        first = min(bisect_left(times, start - slack), len(times) - 1)
        return first, max(bisect_left(times, end - slack), first + 1)

    def jump(self, mark: int, reached: int) -> int | None:
        """The time of the key frame to seek to on the way to a mark, or None if that saves too little.

        Args:
            mark: of the next wanted frame.
            reached: place of the last decoded frame, -1 before the first.
        """
        last = bisect_right(self._keys, mark) - 1
        if last < 0 or self.places[self._keys[last]] - (reached + 1) < _WORTH_A_SEEK:
            return None
        return self._keys[last]


def decode_file(
    source: str | io.BytesIO,
    size: int,
    choose: Callable[[int], np.ndarray[Any, np.dtype[np.int64]]],
    segment: Segment | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The wanted frames of a video file, [n, 3, size, size]; see :func:`selfsup_video.decoding.decode`.

    Frames are rotated and stretched as the file states. They are counted by reading the packets once without decoding them,
    since headers are not reliable.

    Raises:
        BadRowError: it cannot be opened or decoded, holds no frame, or does not hold the segment.
    """
    timeline = _read_timeline(source) if segment is None or not isinstance(source, str) else _known_timeline(*_state_of(source))
    if not timeline.marks:
        raise BadRowError("the video holds no frame")
    first, last = (0, len(timeline.marks)) if segment is None else timeline.within(segment)
    for _ in range(_TRIES):
        marks = timeline.marks[first:last]
        video, done, seen = _decoded(source, size, timeline, [marks[index] for index in choose(len(marks))], max_pixels)
        if done == len(video):
            return video
        # The decoder dropped frames, or the file ends early: treat it as a shorter video.
        if not first < seen < last:
            break
        last = seen
    raise BadRowError("the video holds no frame that can be decoded")


def _read_timeline(source: str | io.BytesIO) -> _Timeline:
    """The timeline of a file, without decoding its packets."""
    with _opened(source) as (container, stream):
        return _Timeline(
            [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size],
            timed=container.format.name not in _UNTIMED,
            base=stream.time_base,
            rate=stream.average_rate,
        )


def _state_of(path: str) -> tuple[str, int, int]:
    status = Path(path).stat()
    return path, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _known_timeline(path: str, size: int, modified: int) -> _Timeline:
    """The timeline of a file with many rows, whose packets are read once."""
    return _read_timeline(path)


def _decoded(
    source: str | io.BytesIO, size: int, timeline: _Timeline, wanted: list[int], max_pixels: int
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int, int]:
    """The frames of the wanted marks, the number of those found, and the number of frames up to the last one seen."""
    video = np.empty((len(wanted), 3, size, size), dtype=np.uint8)
    done, seen, reformatter = 0, 0, VideoReformatter()
    with _opened(source, max_pixels) as (container, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise BadRowError(
                f"the header states frames of {width} x {height} pixels, more than {max_pixels:,} (processor.max_pixels)"
            )
        for mark, frame in _frames(container, stream, timeline, wanted):
            first, seen = done, max(seen, bisect_right(timeline.marks, mark))
            while done < len(wanted) and wanted[done] <= mark:
                done += 1
            if done > first:
                video[first:done] = _square(frame, stream, size, reformatter)
            if done == len(wanted):
                break
    return video, done, seen


def file_header(source: str | io.BytesIO) -> Header:
    """The properties in the header, in square pixels.

    Raises:
        BadRowError: it cannot be opened, or its size is unknown.
    """
    with _opened(source) as (container, stream):
        side = min(_shown_size(stream.codec_context.width, stream.codec_context.height, stream))
        rate = float(stream.average_rate) if stream.average_rate else None
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        if seconds is None and container.duration:
            seconds = container.duration / av.time_base
        frames = stream.frames or (round(seconds * rate) if seconds and rate else None)
    if side < 1:
        raise BadRowError("the size of the video is unknown")
    return Header(side, frames, rate)


@contextmanager
def _opened(source: str | io.BytesIO, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; errors of FFmpeg become a :class:`BadRowError`."""
    try:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        with av.open(source, mode="r", **_KEEP_BAD_METADATA) as container:
            if not container.streams.video:
                raise BadRowError("the file holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise BadRowError("FFmpeg does not know the codec of the video")
            # Rows are decoded in parallel threads, so that threads within a decoder only slow them down.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(max_pixels)}
            yield container, stream
    except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadRowError(f"the video cannot be read: {text}") from error


def _frames(
    container: InputContainer, stream: VideoStream, timeline: _Timeline, wanted: list[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames with their marks, in order, up to the last wanted one, seeking over large gaps between wanted marks."""
    todo = deque(dict.fromkeys(wanted))
    reached = -1
    while todo:
        key = timeline.jump(todo[0], reached)
        if key is not None:
            with suppress(av.error.FFmpegError):
                container.seek(key, stream=stream)
            # If the seek fails, decoding continues or restarts at the beginning, and this seek is not tried again.
            reached = timeline.places[key] - 1
        for count, frame in enumerate(container.decode(stream)):
            mark = count
            if timeline.by_time:
                mark = frame.pts if frame.pts is not None else timeline.marks[min(reached + 1, len(timeline.marks) - 1)]
            reached = max(reached, timeline.places.get(mark, reached))
            yield mark, frame
            while todo and todo[0] <= mark:
                todo.popleft()
            if todo and timeline.jump(todo[0], reached) is not None:
                break
        else:
            return


def _square(
    frame: VideoFrame, stream: VideoStream, size: int, reformatter: VideoReformatter
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A frame upright, with its shorter side at ``size``, the centre cut out: [3, size, size]."""
    width, height = _shown_size(frame.width, frame.height, stream)
    if max(width, height) > _MOST_ASPECT * min(width, height):
        raise BadRowError(f"the video is of {width} x {height} pixels, which is not a picture")
    scale = size / min(width, height)
    width, height = max(round(width * scale), size), max(round(height * scale), size)
    scaled = reformatter.reformat(frame, width=width, height=height, format="rgb24", interpolation="BILINEAR")
    pixels = np.asarray(scaled.to_ndarray(), dtype=np.uint8)
    top, left = (height - size) // 2, (width - size) // 2
    centre = pixels[top : top + size, left : left + size]
    turns = round(frame.rotation / 90) % 4
    return np.rot90(centre, turns).transpose(2, 0, 1)


def _shown_size(width: int, height: int, stream: VideoStream) -> tuple[int, int]:
    """Width and height in square pixels."""
    ratio = stream.sample_aspect_ratio
    return (max(round(width * float(ratio)), 1), height) if ratio else (width, height)
