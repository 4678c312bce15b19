"""Video files, decoded by FFmpeg (PyAV): only the frames that are wanted are converted, and far gaps are jumped over."""

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
"""Containers that do not know when a frame is shown, only in which order frames are decoded."""
_WORTH_A_SEEK = 16
"""Frames to be decoded in vain from which on jumping to a key frame is the faster way."""
_TRIES = 4
"""How often a video that turns out shorter than its packets say is read anew."""
_ROUNDING = 1e-3
"""Seconds by which a frame may be shown before a segment begins: times are written down rounded."""
_MOST_PIXELS = 1 << 28
"""Of a frame: 16384 x 16384. A damaged header may ask for more than there is memory for."""
_MOST_ASPECT = 32
"""Longer side of a frame over the shorter one, pixels made square."""
_KEEP_BAD_METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""Options of ``av.open`` that read a file whose title is not UTF-8. PyAV 19 does so by itself and has no option for it."""


class Header(NamedTuple):
    """What is known of a video before it is decoded."""

    shorter_side: int
    """In pixels."""
    frames: int | None
    """How many, where that is told; not always right."""
    rate: float | None
    """Frames a second, where that is told."""


class _Timeline:
    """When each frame of a stream is shown, and which of them can be decoded without another."""

    def __init__(
        self, packets: list[tuple[int | None, bool]], timed: bool, base: Fraction | None, rate: Fraction | None
    ) -> None:
        times = [time for time, _ in packets if time is not None]
        self.by_time = timed and len(times) == len(packets) and len(set(times)) == len(times)
        """Whether frames are told by their time; else they are counted, and nothing is jumped over."""
        self.marks = sorted(times) if self.by_time else list(range(len(packets)))
        """Of each frame in the order in which they are shown: its time, or its number."""
        self._step = base if self.by_time else 1 / rate if rate else None
        """Seconds from one mark to the next whole number; None where the file does not say."""
        self.places = {mark: place for place, mark in enumerate(self.marks)}
        self._keys = sorted(time for time, is_key in packets if is_key and time is not None) if self.by_time else []

    def within(self, segment: Segment) -> tuple[int, int]:
        """Places of the first frame that is shown in a segment and of the first behind it; times count from the first frame.

        Raises:
            BadRowError: the segment lies outside of the video, or the file does not say when its frames are shown.
        """
        if not self._step:
            raise BadRowError("the video does not say when its frames are shown, so a part of it cannot be cut out by seconds")
        times = [float((mark - self.marks[0]) * self._step) for mark in self.marks]
        interval = times[-1] / (len(times) - 1) if len(times) > 1 else float(self._step)
        start, end = segment.within(times[-1] + interval, "video")
        slack = min(_ROUNDING, interval / 2)
        first = min(bisect_left(times, start - slack), len(times) - 1)
        return first, max(bisect_left(times, end - slack), first + 1)

    def jump(self, mark: int, reached: int) -> int | None:
        """The time of the key frame to go on from towards a mark, or None where that saves too little.

        Args:
            mark: what is wanted next.
            reached: place of the frame that was decoded last, -1 before the first.
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
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The wanted frames of a video file, [n, 3, size, size]; see :func:`selfsup_video.decoding.decode`.

    Rotation and pixels that are not square, as the file states them, are made good. The frames are counted by reading the
    packets once without decoding them, since headers do not always tell.

    Raises:
        BadRowError: it cannot be opened or decoded, holds no frame, or does not hold the segment.
    """
    timeline = _read_timeline(source) if segment is None or not isinstance(source, str) else _known_timeline(*_state_of(source))
    if not timeline.marks:
        raise BadRowError("the video holds no frame")
    first, last = (0, len(timeline.marks)) if segment is None else timeline.within(segment)
    for _ in range(_TRIES):
        marks = timeline.marks[first:last]
        video, done, seen = _decoded(source, size, timeline, [marks[index] for index in choose(len(marks))])
        if done == len(video):
            return video
        # The decoder kept frames back, or the file ends early: what there is of it is a shorter video.
        if not first < seen < last:
            break
        last = seen
    raise BadRowError("the video holds no frame that can be decoded")


def _read_timeline(source: str | io.BytesIO) -> _Timeline:
    """The timeline of a file, of whose packets none is decoded."""
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
    """Of a long file that many rows are parts of: its packets are read once for all of them."""
    return _read_timeline(path)


def _decoded(
    source: str | io.BytesIO, size: int, timeline: _Timeline, wanted: list[int]
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int, int]:
    """The frames of the wanted marks, how many of these were found, and how many frames the video has up to the last seen."""
    video = np.empty((len(wanted), 3, size, size), dtype=np.uint8)
    done, seen, reformatter = 0, 0, VideoReformatter()
    with _opened(source) as (container, stream):
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
    """What the header states, pixels made square.

    Raises:
        BadRowError: it cannot be opened, or does not say how large it is.
    """
    with _opened(source) as (container, stream):
        side = min(_shown_size(stream.codec_context.width, stream.codec_context.height, stream))
        rate = float(stream.average_rate) if stream.average_rate else None
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        if seconds is None and container.duration:
            seconds = container.duration / av.time_base
        frames = stream.frames or (round(seconds * rate) if seconds and rate else None)
    if side < 1:
        raise BadRowError("the video does not say how large it is")
    return Header(side, frames, rate)


@contextmanager
def _opened(source: str | io.BytesIO) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; whatever FFmpeg raises within becomes a :class:`BadRowError`."""
    try:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        with av.open(source, mode="r", **_KEEP_BAD_METADATA) as container:
            if not container.streams.video:
                raise BadRowError("the file holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise BadRowError("the video is in a coding that FFmpeg does not know")
            # Rows are decoded side by side in threads: a decoder's own threads would only get in their way.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            yield container, stream
    except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadRowError(f"the video cannot be read: {text}") from error


def _frames(
    container: InputContainer, stream: VideoStream, timeline: _Timeline, wanted: list[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames with their marks, in order, up to the last wanted one; far gaps between wanted marks are jumped over."""
    todo = deque(dict.fromkeys(wanted))
    reached = -1
    while todo:
        key = timeline.jump(todo[0], reached)
        if key is not None:
            with suppress(av.error.FFmpegError):
                container.seek(key, stream=stream)
            # Where the file cannot be searched it goes on, or back to its beginning; the same jump is then not made again.
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
        raise BadRowError(f"the video is of {width} x {height} pixels, which is no picture")
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
