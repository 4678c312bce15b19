"""What a row may hold, and which reader it goes to; the part of it that is kept, at the rate and scale that are wanted."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import soxr

from selfsup.data import Segment, check_media_file
from selfsup.errors import BadRowError
from selfsup_audio.decoding import ffmpeg
from selfsup_audio.decoding.readers import ArrayReader, Reader, SoundFileReader, Waveform, open_sound_file
from selfsup_audio.decoding.scale import scale_of

Cut = Literal["center", "start"]
_PEAK_SECONDS = 10.0
"""So much of a recording is looked at for its peak."""


@dataclass(frozen=True)
class Header:
    """What is known of a recording before it is decoded."""

    sample_rate: int
    """In Hz."""
    frames: int | None
    """Samples a channel, of the segment where there is one; None where the file does not say."""
    channels: int = 1
    samples: Waveform | None = None
    """Some of the samples, where they are numbers that -1..1 does not bound."""

    @property
    def seconds(self) -> float | None:
        """Duration, or None."""
        return None if self.frames is None else self.frames / self.sample_rate


def read_header(value: Any, segment: Segment | None = None, *, look: bool = False) -> Header:
    """Sample rate and length of what a row holds, without decoding a file.

    Args:
        value: as for :func:`decode`.
        segment: as for :func:`decode`.
        look: whether to read some of the samples, where their scale is not known.

    Raises:
        BadRowError: there is nothing to read, or it is no recording.
    """
    with _opened(value) as reader:
        first, frames = _bounds(reader, segment)
        samples = None
        if look and reader.unbounded:
            count = round(_PEAK_SECONDS * reader.sample_rate)
            samples = reader.read(first + max((frames or 0) - count, 0) // 2, count if frames is None else min(count, frames))
        return Header(reader.sample_rate, frames, reader.channels, samples)


def decode(
    value: Any,
    sample_rate: int,
    n_samples: int,
    cut: Cut = "center",
    keep: float = 1.0,
    *,
    segment: Segment | None = None,
    full_scale: float = 1.0,
    remark: Callable[[str], object] | None = None,
) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Decode, mix the channels down to their mean, resample, and cut what is too long.

    Of a long file only the part that is kept is read, so that memory does not grow with its length. A segment is decoded as if
    it were a file of its own: to the bit where the coding is one whose parts stand for themselves (wav, flac).

    With ``keep`` more than 1 and ``cut="center"``, as much is kept on the left of the middle ``n_samples`` as on their right,
    and these are the samples that ``keep=1`` gives: to the bit where the rate is not changed, and otherwise but for the
    few at both ends that the resampler makes of samples that it could not see.

    Args:
        value: ``{"bytes": ..., "path": ...}`` (either may be None), encoded bytes, a path, or decoded samples
            ``{"array": ..., "sampling_rate": ...}`` with an array [T] or [T, channels] of whole or floating-point numbers.
        sample_rate: in Hz, of the result.
        n_samples: samples of a clip.
        cut: which part of a longer recording is kept: its middle or its beginning.
        keep: most samples of the result, as a multiple of ``n_samples``. A stream may not tell its length: the first
            ``n_samples`` of it are kept.
        segment: which part of the file is the recording; None: all of it.
        full_scale: what 1.0 is in floating-point files and arrays (:func:`selfsup_audio.decoding.scale.scale_of`).
        remark: takes what must be said of a recording that can be used.

    Returns:
        [t] int16 with 1 <= t <= ``keep * n_samples``.

    Raises:
        BadRowError: it cannot be read or decoded, has no sample or one that is not finite, or does not hold the segment; the
            message says why.
    """
    with _opened(value) as reader:
        first, frames = _bounds(reader, segment)
        rate = reader.sample_rate
        kept = _kept_part(frames, rate, sample_rate, n_samples, cut, keep)
        part = reader.read(first + kept.start, kept.extent if frames is None else min(kept.extent, frames - kept.start))
    if not len(part):
        raise BadRowError("the recording ends before its header says" if frames else "the recording is empty (0 samples)")
    if not np.isfinite(part).all():
        raise BadRowError("the recording has samples that are not finite")
    if reader.unbounded:
        scale, text = scale_of(part, full_scale)
        if text and remark is not None:
            remark(text)
        part = part if scale == 1 else part / np.float32(scale)
    if rate != sample_rate:
        # A recording so short that nothing would be left keeps a sample of its own.
        resampled = soxr.resample(part, rate, sample_rate, quality="HQ")
        part = resampled if len(resampled) else part[:1]
    scaled = np.clip(np.rint(part[: kept.n_samples] * 32768.0), -32768, 32767)
    samples: np.ndarray[Any, np.dtype[np.int16]] = scaled.astype(np.int16)
    return samples


def _bounds(reader: Reader, segment: Segment | None) -> tuple[int, int | None]:
    """First sample of a recording in its file, and how many it has (None: the file does not say).

    Raises:
        BadRowError: the segment lies outside of the file.
    """
    if segment is None:
        return 0, reader.frames
    rate = reader.sample_rate
    if reader.frames is None:
        first = round(segment.start * rate)
        return first, None if segment.end is None else max(round(segment.end * rate) - first, 1)
    start, end = segment.within(reader.frames / rate, "recording")
    first = min(round(start * rate), reader.frames - 1)
    return first, max(min(round(end * rate), reader.frames) - first, 1)


class _Part(NamedTuple):
    """What is kept of a recording."""

    start: int
    """First sample, at the recording's own rate."""
    extent: int
    """Most samples, at the recording's own rate."""
    n_samples: int
    """Most samples at the rate of the result."""


def _kept_part(frames: int | None, rate: int, sample_rate: int, n_samples: int, cut: Cut, keep: float) -> _Part:
    """Which part of a recording of ``frames`` samples (None: not known) is kept."""
    clip = _source_samples(n_samples, rate, sample_rate)
    if frames is None or frames <= clip:
        return _Part(0, clip, n_samples)
    if cut == "start":
        kept = round(keep * n_samples)
        return _Part(0, _source_samples(kept, rate, sample_rate), kept)
    start = (frames - clip) // 2
    # Both sides in steps that are whole samples at either rate, so that the clip in the middle is where it is without them.
    divisor = math.gcd(rate, sample_rate)
    step, source_step = sample_rate // divisor, rate // divisor
    steps = min(start // source_step, int((keep - 1) * n_samples / 2) // step)
    kept = n_samples + 2 * steps * step
    return _Part(start - steps * source_step, _source_samples(kept, rate, sample_rate), kept)


def _source_samples(n_samples: int, rate: int, sample_rate: int) -> int:
    """So many samples at ``rate`` become ``n_samples``."""
    return -(-n_samples * rate // sample_rate)


@contextmanager
def _opened(value: Any) -> Iterator[Reader]:
    """What a row holds, open.

    Raises:
        BadRowError: there is nothing to open, or it cannot be read.
    """
    if isinstance(value, dict) and value.get("array") is not None:
        yield ArrayReader(np.asarray(value["array"]), value.get("sampling_rate"))
        return
    if isinstance(value, np.ndarray):
        raise BadRowError("an array alone has no sample rate: give {'array': samples, 'sampling_rate': Hz}")
    source = _source(value)
    file = open_sound_file(source)
    if not isinstance(file, str):
        with file:
            yield SoundFileReader(file)
        return
    if not ffmpeg.is_installed():
        raise BadRowError(
            f"not an audio file that libsndfile can read (wav, flac, ogg, opus, mp3, aiff, ...): {file} {ffmpeg.HINT}"
        )
    try:
        reader = ffmpeg.open_by_ffmpeg(source)
    except BadRowError as error:
        raise BadRowError(
            f"not an audio file that libsndfile or FFmpeg can read (wav, flac, ogg, mp3, m4a, ...): {file} FFmpeg: {error}"
        ) from error
    yield reader


def _source(value: Any) -> str | io.BytesIO:
    """The absolute path or the bytes of what a row holds."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None:
        raise BadRowError("there is no recording (neither bytes nor a path)")
    if isinstance(value, (bytes, bytearray, memoryview)):
        if not len(value):
            raise BadRowError("the recording is empty (0 bytes)")
        return io.BytesIO(value)
    if isinstance(value, (str, Path)):
        return check_media_file(value, "recording")
    raise BadRowError(
        f"a value of type {type(value).__name__} is no recording: give encoded bytes, a path, or "
        "{'array': samples, 'sampling_rate': Hz}"
    )
