"""From what a row holds to a mono waveform: every file that libsndfile reads, arrays too, and a reason where it fails."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import soundfile
import soxr

from selfsup.errors import BadRowError

Waveform = np.ndarray[Any, np.dtype[np.float32]]
Cut = Literal["center", "start"]

_READ_ERRORS = (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError, EOFError)
"""What soundfile raises on damaged files, and on files that are none."""
_RUN_UP = 16384
"""Samples decoded ahead of where an mp3 file is entered: its frames build on those before them, and begin wrong without."""
_ENDLESS = 2**40
"""Frames beyond which a header means that nobody knew the length when it was written (a stream)."""


@dataclass(frozen=True)
class Header:
    """What is known of a recording before it is decoded."""

    sample_rate: int
    """In Hz."""
    frames: int | None
    """Samples a channel; None where the file does not say."""

    @property
    def seconds(self) -> float | None:
        """Duration, or None."""
        return None if self.frames is None else self.frames / self.sample_rate


def read_header(value: Any) -> Header:
    """Sample rate and length of what a row holds, without decoding a file.

    Args:
        value: as for :func:`decode`.

    Raises:
        BadRowError: there is nothing to read, or it is no recording.
    """
    if (array := _array_of(value)) is not None:
        waveform, rate = array
        return Header(rate, len(waveform))
    with _opened(value) as file:
        return Header(int(file.samplerate), _frames(file))


def decode(
    value: Any, sample_rate: int, n_samples: int, cut: Cut = "center", keep: float = 1.0
) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Decode, mix the channels down to their mean, resample, and cut what is too long.

    Of a long file only the part that is kept is read, so that memory does not grow with its length.

    With ``keep`` more than 1 and ``cut="center"``, as much is kept on the left of the middle ``n_samples`` as on their right,
    and these are the samples that ``keep=1`` gives: to the bit where the rate is not changed, and otherwise but for the
    few at both ends that the resampler makes of samples that it could not see.

    Args:
        value: ``{"bytes": ..., "path": ...}`` (either may be None), encoded bytes, a path, or decoded samples
            ``{"array": ..., "sampling_rate": ...}`` with an array [T] or [T, channels] of int16, int32, or float in -1..1.
        sample_rate: in Hz, of the result.
        n_samples: samples of a clip.
        cut: which part of a longer recording is kept: its middle or its beginning.
        keep: most samples of the result, as a multiple of ``n_samples``. A stream may not tell its length: the first
            ``n_samples`` of it are kept.

    Returns:
        [t] int16 with 1 <= t <= ``keep * n_samples``.

    Raises:
        BadRowError: it cannot be read or decoded, or has no sample; the message says why.
    """
    if (array := _array_of(value)) is not None:
        waveform, rate = array
        kept = _kept_part(len(waveform), rate, sample_rate, n_samples, cut, keep)
        part = waveform[kept.start : kept.start + kept.extent]
    else:
        with _opened(value) as file:
            rate = int(file.samplerate)
            kept = _kept_part(_frames(file) if file.seekable() else None, rate, sample_rate, n_samples, cut, keep)
            part = _read_part(file, kept)
    if not len(part):
        raise BadRowError("the recording is empty (0 samples)")
    if not np.isfinite(part).all():
        raise BadRowError("the recording has samples that are not finite")
    if rate != sample_rate:
        # A recording so short that nothing would be left keeps a sample of its own.
        resampled = soxr.resample(part, rate, sample_rate, quality="HQ")
        part = resampled if len(resampled) else part[:1]
    scaled = np.clip(np.rint(part[: kept.n_samples] * 32768.0), -32768, 32767)
    samples: np.ndarray[Any, np.dtype[np.int16]] = scaled.astype(np.int16)
    return samples


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


def _read_part(file: soundfile.SoundFile, kept: _Part) -> Waveform:
    """The kept part of a file, as mono."""
    try:
        if kept.start:
            before = min(kept.start, _RUN_UP) if file.format == "MP3" else 0
            file.seek(kept.start - before)
            return _mono(file.read(before + kept.extent, dtype="float32", always_2d=True)[before:])
        return _mono(file.read(kept.extent, dtype="float32", always_2d=True))
    except _READ_ERRORS as error:
        raise BadRowError(f"the recording cannot be decoded: {error}") from error


def _frames(file: soundfile.SoundFile) -> int | None:
    return int(file.frames) if 0 <= file.frames < _ENDLESS else None


@contextmanager
def _opened(value: Any) -> Iterator[soundfile.SoundFile]:
    """The file that a row holds, open.

    Raises:
        BadRowError: there is nothing to open, or libsndfile cannot read it.
    """
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None:
        raise BadRowError("there is no recording (neither bytes nor a path)")
    if isinstance(value, (bytes, bytearray, memoryview)):
        if not len(value):
            raise BadRowError("the recording is empty (0 bytes)")
        source: Any = io.BytesIO(value)
    elif isinstance(value, (str, Path)):
        source = str(value)
    else:
        raise BadRowError(
            f"a value of type {type(value).__name__} is no recording: give encoded bytes, a path, or "
            "{'array': samples, 'sampling_rate': Hz}"
        )
    try:
        file = soundfile.SoundFile(source)
    except _READ_ERRORS as error:
        raise BadRowError(f"{_reason(source)}: {error}") from error
    with file:
        yield file


def _reason(source: Any) -> str:
    """What to say of something that does not open."""
    if isinstance(source, str):
        if not Path(source).exists():
            return "the recording cannot be opened: there is no such file"
        if Path(source).is_file() and not Path(source).stat().st_size:
            return "the recording is empty (0 bytes)"
    return "not an audio file that libsndfile can read (wav, flac, ogg, mp3, ...)"


def _array_of(value: Any) -> tuple[Waveform, int] | None:
    """Decoded samples that a row holds, as mono, and their rate; None where it holds a file.

    Raises:
        BadRowError: they are of a shape or type that is no recording.
    """
    if not isinstance(value, dict) or value.get("array") is None:
        if isinstance(value, np.ndarray):
            raise BadRowError("an array alone has no sample rate: give {'array': samples, 'sampling_rate': Hz}")
        return None
    array, rate = np.asarray(value["array"]), value.get("sampling_rate")
    if not isinstance(rate, (int, float, np.number)) or not rate >= 1:
        raise BadRowError(f"sampling_rate={rate!r} is no sample rate in Hz")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > 64):
        raise BadRowError(f"an array of shape {array.shape} is no recording: [samples] or [samples, channels] is wanted")
    if array.dtype == np.int16:
        array = array.astype(np.float32) / np.float32(2**15)
    elif array.dtype == np.int32:
        array = (array / 2**31).astype(np.float32)
    elif not np.issubdtype(array.dtype, np.floating):
        raise BadRowError(f"an array of type {array.dtype} is no recording: int16, int32, or float in -1..1 is wanted")
    return _mono(array.astype(np.float32).reshape(len(array), array.shape[1] if array.ndim == 2 else 1)), round(float(rate))


def _mono(samples: Waveform) -> Waveform:
    """[T, channels] to their mean, [T]."""
    mixed: Waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return mixed
