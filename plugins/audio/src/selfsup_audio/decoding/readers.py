"""Readers of mono samples from files that libsndfile reads and from arrays."""

from __future__ import annotations

import io
from typing import Any, Protocol

import numpy as np
import soundfile

from selfsup.errors import BadRowError

Waveform = np.ndarray[Any, np.dtype[np.float32]]

READ_ERRORS = (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError, EOFError)
"""What soundfile raises on damaged files and on other kinds of files."""
_RUN_UP = 16384
"""Samples of an mp3 file that are decoded before the first wanted one, since frames depend on those before them."""
_ENDLESS = 2**40
"""A larger number of frames in a header means that the length was unknown when it was written (a stream)."""
_HIGHEST_RATE = 50_000_000
"""In Hz; a higher rate means that the header is damaged."""
_BLOCK = 1 << 20
"""Numbers that are decoded at a time: the length in a header may be wrong and exceed the memory."""


class Reader(Protocol):
    """An open recording."""

    sample_rate: int
    """In Hz."""
    frames: int | None
    """Samples a channel; None where the file does not say."""
    channels: int
    unbounded: bool
    """Whether samples may lie outside -1..1: floating-point files and arrays."""

    def read(self, first: int, count: int) -> Waveform:
        """At most ``count`` samples from the ``first`` on, mixed down to [t] with the mean of the channels."""
        ...


class SoundFileReader:
    """A file that libsndfile reads.

    Raises:
        BadRowError: the sample rate is invalid.
    """

    def __init__(self, file: soundfile.SoundFile) -> None:
        self._file = file
        self.sample_rate = checked_rate(file.samplerate)
        self.frames = int(file.frames) if 0 <= file.frames < _ENDLESS else None
        self.channels = int(file.channels)
        self.unbounded = file.subtype in ("FLOAT", "DOUBLE")

    def read(self, first: int, count: int) -> Waveform:
        """See :class:`Reader`."""
        before = min(first, _RUN_UP) if self._file.format == "MP3" else 0
        try:
            if first:
                self._file.seek(first - before)
            blocks, left = [], before + count
            while left > 0:
                block = self._file.read(min(left, max(_BLOCK // self.channels, 1)), dtype="float32", always_2d=True)
                if not len(block):
                    break
                blocks.append(mono(block))
                left -= len(block)
        except READ_ERRORS as error:
            raise BadRowError(f"the recording cannot be decoded: {error}") from error
        return joined(blocks)[before:]


class ArrayReader:
    """Decoded samples, [T] or [T, channels], and their rate in Hz.

    Raises:
        BadRowError: the shape or type is not that of a recording.
    """

    def __init__(self, array: np.ndarray[Any, Any], rate: Any) -> None:
        if not isinstance(rate, (int, float, np.number)):
            raise BadRowError(f"sampling_rate={rate!r} is no sample rate in Hz")
        self.sample_rate = checked_rate(rate)
        if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > 64):
            turned = ": transpose it" if array.ndim == 2 and array.shape[0] <= 64 else ""
            raise BadRowError(f"an array of shape {array.shape} is no recording{turned}; give [samples] or [samples, channels]")
        kind = array.dtype
        if kind == np.bool_ or (not np.issubdtype(kind, np.integer) and not np.issubdtype(kind, np.floating)):
            raise BadRowError(f"an array of type {kind} is no recording; give integers or floating-point numbers")
        self._array = array.reshape(len(array), array.shape[1] if array.ndim == 2 else 1)
        self.frames: int | None = len(array)
        self.channels = self._array.shape[1]
        self.unbounded = kind not in _FULL_SCALE

    def read(self, first: int, count: int) -> Waveform:
        """See :class:`Reader`."""
        part = self._array[first : first + count]
        if part.dtype in _FULL_SCALE:
            return mono(scaled(part))
        return mono(part.astype(np.float32))


_FULL_SCALE = {
    np.dtype(np.uint8): 2.0**7,
    np.dtype(np.int8): 2.0**7,
    np.dtype(np.int16): 2.0**15,
    np.dtype(np.int32): 2.0**31,
}
"""Full scale of samples of these types; for others it is unknown."""


def scaled(samples: np.ndarray[Any, Any]) -> Waveform:
    """Samples of 8, 16 or 32 bits as float32 in -1..1; floating-point numbers as float32."""
    full = _FULL_SCALE.get(samples.dtype)
    if full is None:
        return samples.astype(np.float32)
    middle = full if samples.dtype == np.uint8 else 0.0
    wide = np.asarray(samples, dtype=np.float64)
    return ((wide - middle) / full).astype(np.float32)


def open_sound_file(source: str | io.BytesIO) -> soundfile.SoundFile | str:
    """The file, open, or why libsndfile cannot read it."""
    try:
        return soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        return str(error.error_string)  # its text names the file again
    except READ_ERRORS as error:
        return str(error)


def checked_rate(rate: Any) -> int:
    """A sample rate in Hz, rounded.

    Raises:
        BadRowError: the rate is invalid.
    """
    if not 1 <= rate <= _HIGHEST_RATE:
        raise BadRowError(f"sampling_rate={rate!r} is no sample rate in Hz")
    return round(float(rate))


def mono(samples: Waveform) -> Waveform:
    """[T, channels] to their mean, [T]."""
    mixed: Waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return mixed


def joined(blocks: list[Waveform]) -> Waveform:
    """The parts concatenated."""
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
