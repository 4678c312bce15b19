"""Floating-point recordings beyond -1..1 are reported and scaled, and nothing is clipped."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from selfsup.errors import BadRowError
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig

TONE = np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)


def row(samples: np.ndarray[Any, Any], subtype: str = "FLOAT") -> dict[str, Any]:
    stream = io.BytesIO()
    soundfile.write(stream, samples, 8000, format="WAV", subtype=subtype)
    return {"audio": stream.getvalue()}


def waveform(processor: AudioProcessor, row: dict[str, Any]) -> np.ndarray[Any, Any]:
    return processor.encode(row)["waveform"][:4000] / 32768


def test_integers_in_floating_point_files_are_found() -> None:
    rows = [row(np.rint(30000 * level * TONE)) for level in (0.01, 0.3, 1.0)] + [row(0.4 * TONE, "PCM_16")]
    processor = AudioProcessor().fit(rows)
    assert "32768" in processor.findings().facts["full scale"]
    for each, level in zip(rows, (0.01, 0.3, 1.0), strict=False):
        np.testing.assert_allclose(waveform(processor, each), np.rint(30000 * level * TONE) / 32768, atol=1e-4)
    np.testing.assert_allclose(waveform(processor, rows[3]), 0.4 * TONE, atol=1e-4)
    assert processor.take_remarks() == {}
    np.testing.assert_allclose(waveform(processor, row(0.5 * TONE)), 0.5 * TONE, atol=1e-4)
    assert next(iter(processor.take_remarks())).startswith("they lie within -1..1 where others reach up to 32768")


@pytest.mark.parametrize(("peak", "scale"), [(1.3, 2), (5.0, 8), (29000.5, 32768), (2.0**24, 2**31)])
def test_the_scale_of_most_recordings_is_learned(peak: float, scale: float) -> None:
    rows = [{"audio": {"array": part * peak * TONE, "sampling_rate": 8000}} for part in (1.0, 0.9, 0.8)]
    if peak == 2.0**24:
        rows = [{"audio": {"array": np.rint(peak * TONE).astype(np.int64), "sampling_rate": 8000}}]
    processor = AudioProcessor().fit(rows)
    np.testing.assert_allclose(waveform(processor, rows[0]), peak * TONE / scale, atol=1e-4)


def test_a_few_that_reach_beyond_are_scaled_down_and_counted() -> None:
    processor = AudioProcessor().fit([row(0.5 * TONE)] * 8)
    np.testing.assert_allclose(waveform(processor, row(1.3 * TONE)), TONE, atol=1e-3)
    np.testing.assert_allclose(waveform(processor, row(np.rint(20000 * TONE))), 20000 / 32768 * TONE, atol=1e-4)
    waveform(processor, row(1.2 * TONE))
    remarks = processor.take_remarks()
    assert [(text.split(",")[0], count) for text, count in remarks.items()] == [
        ("they reach beyond the full scale of 1", 2),
        ("they reach far beyond the full scale of 1", 1),
    ]
    assert all("processor.full_scale" in text for text in remarks)


def test_the_scale_is_set_and_saved(tmp_path: Path) -> None:
    processor = AudioProcessor(AudioProcessorConfig(sample_rate=8000, clip_seconds=0.5, full_scale=4)).fit([row(3 * TONE)])
    processor.save(tmp_path)
    np.testing.assert_allclose(waveform(AudioProcessor.load(tmp_path), row(3 * TONE)), 0.75 * TONE, atol=1e-4)
    learned = AudioProcessor().fit([row(np.rint(3000 * TONE))])
    learned.save(tmp_path)
    np.testing.assert_allclose(
        waveform(AudioProcessor.load(tmp_path), row(np.rint(3000 * TONE))), 3000 / 32768 * TONE, atol=1e-4
    )
    with pytest.raises(ValueError, match="full_scale must be more than 0"):
        AudioProcessorConfig(full_scale=0)


def test_samples_that_are_not_finite_are_a_bad_row_and_do_not_move_the_scale() -> None:
    for value in (np.nan, np.inf, -np.inf):
        broken = TONE.copy()
        broken[100] = value
        processor = AudioProcessor().fit([row(broken), row(0.5 * TONE)])
        with pytest.raises(BadRowError, match="not finite"):
            processor.encode(row(broken))
        np.testing.assert_allclose(waveform(processor, row(0.5 * TONE)), 0.5 * TONE, atol=1e-4)


def test_silence_and_a_constant_are_recordings() -> None:
    for samples in (np.zeros(4000), np.full(4000, 0.25)):
        np.testing.assert_array_equal(waveform(AudioProcessor().fit([row(samples)]), row(samples)), samples)
