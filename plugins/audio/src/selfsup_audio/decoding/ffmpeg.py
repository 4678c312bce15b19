"""Read recordings that libsndfile does not (m4a, aac, wma, the sound of videos) by FFmpeg, if PyAV is installed."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.errors import BadRowError
from selfsup_audio.decoding.readers import Waveform, checked_rate, joined, mono, scaled

HINT = "m4a, aac, wma and the sound of videos need PyAV: pip install 'selfsup-audio[av]'"
"""The message without PyAV."""
_RUN_UP_SECONDS = 1.0
"""Decoded before the wanted sample after a seek, since frames depend on those before them."""
_WORTH_A_SEEK_SECONDS = 10.0


def is_installed() -> bool:
    """Whether PyAV can be imported."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def open_by_ffmpeg(source: str | io.BytesIO) -> FFmpegReader:
    """The reader of a file. A file with many rows is scanned once.

    Raises:
        BadRowError: as :class:`FFmpegReader`.
    """
    if not isinstance(source, str):
        return FFmpegReader(source)
    status = Path(source).stat()
    return _known_reader(source, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _known_reader(path: str, size: int, modified: int) -> FFmpegReader:
    return FFmpegReader(path)  # it keeps no file open


class FFmpegReader:
    """The first audio stream of a file.

    Samples are counted from the first decoded one. Where timestamps count samples (mp4, m4a), the reader seeks to samples far
    from the beginning; other files are decoded from their beginning, so that every sample has its right place.

    Raises:
        BadRowError: the file cannot be opened, or holds no sound that can be decoded.
    """

    channels: int
    unbounded = False

    def __init__(self, source: str | io.BytesIO) -> None:
        self._source = source
        with self._opened() as (container, stream):
            self.sample_rate = checked_rate(stream.codec_context.sample_rate or 0)
            self.channels = max(int(stream.codec_context.channels), 1)
            rate, base = self.sample_rate, stream.time_base or Fraction(1, self.sample_rate)
            packets = [(packet.pts, packet.duration or 0) for packet in container.demux(stream) if packet.size]
        if not packets:
            raise BadRowError("the recording is empty (0 samples)")
        times = [time for time, _ in packets if time is not None]
        timed = len(times) == len(packets)
        self._origin = max(min(times), 0) if timed else None
        """Timestamp of the first decoded sample; what a decoder drops at the beginning has times below 0."""
        steps = max(time + steps for time, steps in packets) - max(min(times), 0) if timed else sum(last for _, last in packets)
        self.frames: int | None = round(steps * base * rate) if steps > 0 else None
        self._counts_samples = timed and base == Fraction(1, rate)

    def read(self, first: int, count: int) -> Waveform:
        """See :class:`~selfsup_audio.decoding.readers.Reader`."""
        blocks: list[Waveform] = []
        position = 0
        with self._opened() as (container, stream):
            seeks = self._counts_samples and first > _WORTH_A_SEEK_SECONDS * self.sample_rate
            if seeks and self._origin is not None:
                container.seek(self._origin + first - round(_RUN_UP_SECONDS * self.sample_rate), stream=stream)
            for frame in container.decode(stream):
                if frame.sample_rate != self.sample_rate:
                    raise BadRowError(f"the recording changes from {self.sample_rate} to {frame.sample_rate} Hz")
                if seeks and self._origin is not None and frame.pts is not None:
                    position = frame.pts - self._origin
                samples = _samples(frame)
                begin, end = max(first - position, 0), min(first + count - position, len(samples))
                if begin < end:
                    blocks.append(mono(samples[begin:end]))
                position += len(samples)
                if position >= first + count:
                    break
        return joined(blocks)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """Container and stream; errors of FFmpeg become a :class:`BadRowError`."""
        import av

        options: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
        if isinstance(self._source, io.BytesIO):
            self._source.seek(0)
        try:
            with av.open(self._source, mode="r", **options) as container:
                if not container.streams.audio:
                    raise BadRowError("the file holds no sound")
                stream = container.streams.audio[0]
                if stream.codec_context is None:
                    raise BadRowError("FFmpeg does not know the codec of the recording")
                stream.codec_context.thread_count = 1  # rows are decoded in parallel threads
                yield container, stream
        except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
            text = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise BadRowError(f"the recording cannot be decoded: {text}") from error


def _samples(frame: Any) -> Waveform:
    """[T, channels] of a decoded frame, float32 in -1..1."""
    values = np.asarray(frame.to_ndarray())
    channels = len(frame.layout.channels)
    return scaled(values.T if frame.format.is_planar else values.reshape(-1, channels))
