"""Made-up recordings with something to learn for every kind of task."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from selfsup.types import Row

_RATE = 8000


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` wav files of 0.3 to 0.5 s at 8 kHz, without labels.

    A tone that rises in pitch and fades (so that order and direction of time can be told), pure or with overtones, of random
    pitch, beat, loudness and phase, in noise of random loudness.
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
