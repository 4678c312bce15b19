"""Synthetic sounds, and plainly so: signals whose class is how they change in time."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup_bench.datasets.cache import Columns, cached, file_feature

if TYPE_CHECKING:
    from datasets import Dataset, Features

Signal = np.ndarray[Any, np.dtype[np.float64]]

KINDS = ("rising", "falling", "swelling", "fading", "quickening", "slowing", "tremolo", "vibrato")
"""Classes. The first six are three pairs: played backwards, a sound of one class is one of the other."""
TRENDS: Mapping[str, tuple[str, ...]] = {
    "more": ("rising", "swelling", "quickening"),
    "less": ("falling", "fading", "slowing"),
    "to and fro": ("tremolo", "vibrato"),
}
"""Classes of ``sound-trends`` to their kinds."""
RATE = 8000
"""Samples a second."""
SECONDS = 1.0
_SOUNDS = 200
"""Of each class."""


def synthetic_sounds(split: str) -> Dataset:
    """1,600 synthetic sounds (1 s, 8 kHz, WAV) of eight kinds: 1,280 to train and 320 to test. Nothing of them is real.

    Tones that rise or fall, tones that swell or fade, clicks that come quicker or slower, tones of trembling loudness
    (tremolo) or pitch (vibrato). Pitch, overtones, depth, phase, loudness and the noise behind are random and the same for all
    kinds. The kinds that are each other backwards have the same mean spectrum, and the same spread of it over time.

    Raises:
        SourceError: there is no such split.
    """
    return cached("synthetic-sounds", "1", split, _read)


def sound_trends(split: str) -> Dataset:
    """The sounds of :func:`synthetic_sounds` in three classes: something becomes more, or less, or goes to and fro.

    What it is differs within a class (pitch, loudness, or clicks a second), so that a few labelled sounds of it hardly show all
    of it. ``more`` and ``less`` are each other backwards.

    Raises:
        SourceError: there is no such split.
    """
    return cached("sound-trends", "1", split, _read_trends)


def _read() -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(KINDS)), _SOUNDS).tolist()
    rows = [{"bytes": wav(sound(KINDS[label], rng)), "path": None} for label in labels]
    return {"audio": rows, "label": labels}, Features({"audio": file_feature(), "label": ClassLabel(names=list(KINDS))})


def _read_trends() -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features

    columns, features = _read()
    trend_of = {kind: place for place, kinds in enumerate(TRENDS.values()) for kind in kinds}
    labels = [trend_of[KINDS[label]] for label in columns["label"]]
    return {**columns, "label": labels}, Features({**features, "label": ClassLabel(names=list(TRENDS))})


def sound(kind: str, rng: np.random.Generator) -> Signal:
    """[8000] in -1..1: one sound of a kind, with random loudness and noise (-30 to -10 dB of the signal's power) behind it."""
    backwards = {"falling": "rising", "fading": "swelling", "slowing": "quickening"}
    signal = _MAKERS[backwards.get(kind, kind)](rng)
    if kind in backwards:
        signal = signal[::-1]
    noise = rng.normal(size=len(signal))
    power = float(np.mean(signal**2)) * 10 ** (rng.uniform(-30, -10) / 10)
    mixed = signal + noise * np.sqrt(power)
    result: Signal = mixed / np.abs(mixed).max() * rng.uniform(0.1, 0.9)
    return result


def _time() -> Signal:
    return np.arange(round(RATE * SECONDS)) / RATE


def _tone(pitch: Signal, rng: np.random.Generator) -> Signal:
    """A tone of a pitch [T] in Hz that may change, with three overtones of random strength."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    parts = [np.sin((n + 1) * phase + rng.uniform(0, 2 * np.pi)) * rng.uniform(0, 1) ** n for n in range(4)]
    total: Signal = np.sum(parts, axis=0)
    return total


def _pitch(rng: np.random.Generator) -> float:
    """In Hz, evenly over two octaves; the highest overtone of twice as much lies below half the sample rate."""
    return float(110 * 2 ** rng.uniform(0, 2))


def _rising(rng: np.random.Generator) -> Signal:
    """From half an octave to an octave up."""
    return _tone(_pitch(rng) * 2 ** (rng.uniform(0.5, 1) * (_time() / SECONDS - 0.5)), rng)


def _swelling(rng: np.random.Generator) -> Signal:
    """Louder by 12 to 30 dB."""
    return _tone(np.full_like(_time(), _pitch(rng)), rng) * 10 ** (rng.uniform(12, 30) / 20 * (_time() / SECONDS - 1))


def _quickening(rng: np.random.Generator) -> Signal:
    """Short clicks of one pitch, whose number a second grows by a factor of 2.5 to 4."""
    slow = rng.uniform(3, 5)
    rate = slow * rng.uniform(2.5, 4) ** (_time() / SECONDS)
    turns = rng.uniform(0, 1) + np.cumsum(rate) / RATE
    # Even in time, so that a click is the same backwards.
    near = np.abs(turns - np.round(turns)) / rate
    return _tone(np.full_like(_time(), 2 * _pitch(rng)), rng) * np.exp(-0.5 * (near / 0.006) ** 2)


def _tremolo(rng: np.random.Generator) -> Signal:
    """Loudness that goes up and down 4 to 10 times a second."""
    trembling = np.sin(2 * np.pi * rng.uniform(4, 10) * _time() + rng.uniform(0, 2 * np.pi))
    return _tone(np.full_like(_time(), _pitch(rng)), rng) * (1 + rng.uniform(0.5, 0.9) * trembling)


def _vibrato(rng: np.random.Generator) -> Signal:
    """Pitch that goes up and down by a sixth to a half of an octave, 4 to 10 times a second."""
    trembling = np.sin(2 * np.pi * rng.uniform(4, 10) * _time() + rng.uniform(0, 2 * np.pi))
    return _tone(_pitch(rng) * 2 ** (rng.uniform(1 / 12, 1 / 4) * trembling), rng)


_MAKERS = {"rising": _rising, "swelling": _swelling, "quickening": _quickening, "tremolo": _tremolo, "vibrato": _vibrato}


def wav(signal: Signal) -> bytes:
    """[T] in -1..1 as a WAV file of 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(signal * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
