"""Synthetic recordings from which every kind of task can learn."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import soundfile

from selfsup.types import Row

_RATE = 8000


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` wav files of 0.3 to 0.5 s at 8 kHz, without labels.

    A tone that rises in pitch and fades (so that order and direction of time can be predicted), pure or with overtones, with
    random pitch, beat, loudness and phase, in noise of random loudness.
    """
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for index in range(n):
        samples = int(rng.uniform(0.3, 0.5) * _RATE)
        part = np.linspace(0, 1, samples)
        seconds = samples / _RATE
        pitch = np.exp(rng.uniform(np.log(100), np.log(1600)))
        phase = 2 * np.pi * (pitch * seconds * (part + part**2 / 4) + rng.uniform())
        tone = sum(np.sin(k * phase) / k for k in ((1,) if index % 2 else range(1, 6)) if k * pitch * 1.5 < _RATE / 2)
        beat = 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(4, 25) * seconds * part)
        hiss = 0.3 * 10 ** rng.uniform(-3, -0.5) * rng.normal(size=samples)
        waveform = 10 ** rng.uniform(-1, -0.4) * (tone * beat * (1 - 0.8 * part) + hiss)
        waveform = np.clip(waveform, -1, 1)
        file = io.BytesIO()
        soundfile.write(file, waveform, _RATE, format="WAV", subtype="PCM_16")
        rows.append({"audio": {"bytes": file.getvalue(), "path": None}})
    return rows


def noise_rows(n: int, seed: int, seconds: tuple[float, float]) -> list[Row]:
    """``n`` wav files of white noise at 8 kHz, all of one loudness, with lengths uniform in ``seconds``."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for _ in range(n):
        file = io.BytesIO()
        waveform = np.clip(0.2 * rng.normal(size=int(rng.uniform(*seconds) * _RATE)), -1, 1)
        soundfile.write(file, waveform, _RATE, format="WAV", subtype="PCM_16")
        rows.append({"audio": {"bytes": file.getvalue(), "path": None}})
    return rows


NOISE_ROWS = {
    "0.1 s": partial(noise_rows, seconds=(0.1, 0.1)),
    "0.3 s": partial(noise_rows, seconds=(0.3, 0.3)),
    "0.05 to 0.6 s": partial(noise_rows, seconds=(0.05, 0.6)),
}
"""Independent noise for the leak checks: shorter than any clip, as long as one, of all lengths."""
