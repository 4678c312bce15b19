"""Choose the reader for a row's value, and decode the part that is kept at a rate and scale."""

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
MAX_SAMPLES = 1 << 28
"""Most samples that are read of a recording (1 GiB) unless the user sets more: the rate in a header may be any number."""
_PEAK_SECONDS = 10.0
"""Seconds of a recording that are read to find its peak."""


@dataclass(frozen=True)
class Header:
    """Properties of a recording that are known without decoding it."""

    sample_rate: int
    """In Hz."""
    frames: int | None
    """Samples per channel of the recording or segment; None if unknown."""
    channels: int = 1
    samples: Waveform | None = None
    """Some of the samples, if they may lie outside -1..1."""

    @property
    def seconds(self) -> float | None:
        """Duration, or None."""
        return None if self.frames is None else self.frames / self.sample_rate


def read_header(value: Any, segment: Segment | None = None, *, look: bool = False) -> Header:
    """Sample rate and length of what a row holds, without decoding a file.

    Args:
        value: as for :func:`decode`.
        segment: as for :func:`decode`.
        look: whether to read some of the samples if their scale is unknown.

    Raises:
        BadRowError: there is nothing to read, or it is no recording.
    """
    with _opened(value) as reader:
        first, frames = _bounds(reader, segment)
        samples = None
        if look and reader.unbounded:
            count = min(round(_PEAK_SECONDS * reader.sample_rate), MAX_SAMPLES)
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
    max_samples: int = MAX_SAMPLES,
    remark: Callable[[str], object] | None = None,
) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Decode, average the channels, resample, and cut long recordings.

    Only the part of a long file that is kept is read, so that memory does not grow with its length. A segment gives the same
    samples as a file of its own (exactly for wav and flac, whose parts can be decoded separately).

    With ``keep`` above 1 and ``cut="center"``, as much is kept to the left of the middle ``n_samples`` as to the right. The
    middle is what ``keep=1`` gives, exactly if the rate does not change, else except for a few samples at both ends that depend
    on their neighbours through the resampler.

    Args:
        value: ``{"bytes": ..., "path": ...}`` (either may be None), encoded bytes, a path, or decoded samples
            ``{"array": ..., "sampling_rate": ...}`` with an array [T] or [T, channels] of whole or floating-point numbers.
        sample_rate: in Hz, of the result.
        n_samples: samples of a clip.
        cut: keep the middle or the beginning of a longer recording.
        keep: most samples of the result, as a multiple of ``n_samples``. Of a stream of unknown length the first ``n_samples``
            are kept.
        segment: the part of the file that is the recording; None: all.
        full_scale: of floating-point files and arrays (:func:`selfsup_audio.decoding.scale.scale_of`).
        max_samples: most samples that are read, at the recording's own rate, unless the result has an eighth of that or more.
        remark: called with remarks on usable recordings.

    Returns:
        [t] int16 with 1 <= t <= ``keep * n_samples``.

    Raises:
        BadRowError: it cannot be read or decoded, has no sample or one that is not finite, or does not hold the segment.
    """
    with _opened(value) as reader:
        first, frames = _bounds(reader, segment)
        rate = reader.sample_rate
        kept = _kept_part(frames, rate, sample_rate, n_samples, cut, keep)
        if kept.extent > max(max_samples, 8 * kept.n_samples):
            raise BadRowError(
                f"at its sample rate of {rate:,} Hz the part to read has {kept.extent:,} samples, more than "
                f"{max_samples:,} (processor.max_samples), which may fill the memory: the header is damaged, or set more"
            )
        part = reader.read(first + kept.start, kept.extent if frames is None else min(kept.extent, frames - kept.start))
    if not len(part):
        raise BadRowError("the recording is shorter than its header says" if frames else "the recording is empty (0 samples)")
    if not np.isfinite(part).all():
        raise BadRowError("the recording has samples that are not finite")
    if reader.unbounded:
        scale, text = scale_of(part, full_scale)
        if text and remark is not None:
            remark(text)
        part = part if scale == 1 else part / np.float32(scale)
    if rate != sample_rate:
        # A very short recording keeps at least one sample.
        resampled = soxr.resample(part, rate, sample_rate, quality="HQ")
        part = resampled if len(resampled) else part[:1]
    scaled = np.clip(np.rint(part[: kept.n_samples] * 32768.0), -32768, 32767)
    samples: np.ndarray[Any, np.dtype[np.int16]] = scaled.astype(np.int16)
    return samples


def _bounds(reader: Reader, segment: Segment | None) -> tuple[int, int | None]:
    """First sample of a recording in its file, and its number of samples (None: unknown).

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
    """The part of a recording that is kept."""

    start: int
    """First sample, at the recording's own rate."""
    extent: int
    """Most samples, at the recording's own rate."""
    n_samples: int
    """Most samples at the rate of the result."""


def _kept_part(frames: int | None, rate: int, sample_rate: int, n_samples: int, cut: Cut, keep: float) -> _Part:
    """The part of a recording of ``frames`` samples (None: unknown) that is kept."""
    clip = _source_samples(n_samples, rate, sample_rate)
    if frames is None or frames <= clip:
        return _Part(0, clip, n_samples)
    if cut == "start":
        kept = round(keep * n_samples)
        return _Part(0, _source_samples(kept, rate, sample_rate), kept)
    start = (frames - clip) // 2
    # Both sides in steps that are whole samples at either rate, so that they do not move the clip in the middle.
    divisor = math.gcd(rate, sample_rate)
    step, source_step = sample_rate // divisor, rate // divisor
    steps = min(start // source_step, int((keep - 1) * n_samples / 2) // step)
    kept = n_samples + 2 * steps * step
    return _Part(start - steps * source_step, _source_samples(kept, rate, sample_rate), kept)


def _source_samples(n_samples: int, rate: int, sample_rate: int) -> int:
    """Samples at ``rate`` that become ``n_samples`` at ``sample_rate``."""
    return -(-n_samples * rate // sample_rate)


@contextmanager
def _opened(value: Any) -> Iterator[Reader]:
    """Open what a row holds.

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
