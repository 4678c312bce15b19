"""What samples are read from: files that libsndfile reads, and arrays. One mono part at a time."""

from __future__ import annotations

import io
from typing import Any, Protocol

import numpy as np
import soundfile

from selfsup.errors import BadRowError

Waveform = np.ndarray[Any, np.dtype[np.float32]]

READ_ERRORS = (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError, EOFError)
"""What soundfile raises on damaged files, and on files that are none."""
_RUN_UP = 16384
"""Samples decoded ahead of where an mp3 file is entered: its frames build on those before them, and begin wrong without."""
_ENDLESS = 2**40
"""Frames beyond which a header means that nobody knew the length when it was written (a stream)."""
_HIGHEST_RATE = 50_000_000
"""Hz. A rate beyond that is a damaged header."""
_BLOCK = 1 << 20
"""Numbers that are decoded at a time: a header may promise more than a file holds, and more than there is memory for."""


class Reader(Protocol):
    """A recording that is open."""

    sample_rate: int
    """In Hz."""
    frames: int | None
    """Samples a channel; None where the file does not say."""
    channels: int
    unbounded: bool
    """Whether the samples are numbers that -1..1 does not bound: floating-point files and arrays."""

    def read(self, first: int, count: int) -> Waveform:
        """At most ``count`` samples from the ``first`` on, mixed down to [t] with the mean of the channels."""
        ...


class SoundFileReader:
    """A file that libsndfile reads.

    Raises:
        BadRowError: its sample rate is none.
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
        BadRowError: they are of a shape or type that is no recording.
    """

    def __init__(self, array: np.ndarray[Any, Any], rate: Any) -> None:
        if not isinstance(rate, (int, float, np.number)):
            raise BadRowError(f"sampling_rate={rate!r} is no sample rate in Hz")
        self.sample_rate = checked_rate(rate)
        if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > 64):
            turned = ": transpose it" if array.ndim == 2 and array.shape[0] <= 64 else ""
            raise BadRowError(
                f"an array of shape {array.shape} is no recording{turned}: [samples] or [samples, channels] is wanted"
            )
        kind = array.dtype
        if kind == np.bool_ or (not np.issubdtype(kind, np.integer) and not np.issubdtype(kind, np.floating)):
            raise BadRowError(f"an array of type {kind} is no recording: whole or floating-point numbers are wanted")
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
"""What full scale is in samples of these types; of others nobody knows."""


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
        BadRowError: it is none.
    """
    if not 1 <= rate <= _HIGHEST_RATE:
        raise BadRowError(f"sampling_rate={rate!r} is no sample rate in Hz")
    return round(float(rate))


def mono(samples: Waveform) -> Waveform:
    """[T, channels] to their mean, [T]."""
    mixed: Waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return mixed


def joined(blocks: list[Waveform]) -> Waveform:
    """Parts one behind the other."""
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
