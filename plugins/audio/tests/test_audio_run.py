"""Whole runs on folders of recordings: pretraining, evaluation, fine-tuning, embedding, and what happens to bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import selfsup
from selfsup.artifacts import Encoder
from selfsup.errors import TooManyBadRowsError
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig

SMALL = {"backbone.embed_dim": 16, "backbone.channels": 8, "objective.hidden_dim": 32, "objective.output_dim": 16}
BUDGET = {"steps": 3, "batch_size": 16, "seed": 0, "precision": "32"}


def write_folder(folder: Path, per_class: int = 24) -> Path:
    """A folder per class: low and high tones of several rates, lengths, formats and numbers of channels."""
    generator = np.random.default_rng(0)
    for name, hertz in (("high", 1500), ("low", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            rate = (8000, 8000, 16000)[number % 3]
            n = int(generator.uniform(0.2, 0.5) * rate)
            tone = 0.3 * np.sin(2 * np.pi * hertz * generator.uniform(0.8, 1.2) * np.arange(n) / rate)
            tone = np.stack([tone, tone], axis=1) if number % 4 == 0 else tone
            soundfile.write(folder / name / f"{number:03}.{('wav', 'flac', 'ogg')[number % 3]}", tone, rate)
    return folder


def test_a_run_on_a_folder_of_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad files are named and skipped."""
    sounds = write_folder(tmp_path / "sounds")
    (sounds / "low" / "broken.wav").write_bytes(b"RIFF, but no more of it")
    (sounds / "high" / "empty.flac").touch()
    with pytest.raises(TooManyBadRowsError, match=r"high/empty.flac\): the recording is empty"):
        selfsup.pretrain("audio/simclr", data=str(sounds), out=tmp_path / "other", overrides=SMALL, **BUDGET)
    bad = {"max_bad_rows": 0.1, "overrides": SMALL}
    run = selfsup.pretrain("audio/simclr", data=str(sounds), out=tmp_path / "run", **bad, **BUDGET)
    errors = capsys.readouterr().err
    assert "Warning: 2 of the 50 rows of " in errors
    assert "(high/empty.flac): " in errors
    assert "low/broken.wav" in errors
    encoder = selfsup.load(run.dir)
    assert encoder.processor.info()["sample_rate"] == 8000
    embedded = encoder.embed([{"audio": str(sounds / "low" / "000.wav")}, {"audio": str(sounds / "high" / "001.flac")}])
    assert embedded.shape == (2, 16)
    for name in ("low/broken.wav", "high/empty.flac"):
        (sounds / name).unlink()
    (record,) = selfsup.evaluate(encoder, data=str(sounds), evaluators=["knn"])
    assert record.metrics["accuracy"] > 0.8


def test_long_recordings_are_trained_on_in_new_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for number in range(16):
        soundfile.write(sounds / f"{number:02}.wav", generator.normal(0, 0.1, 8000), 8000)
    shown: set[bytes] = set()
    collate = AudioProcessor.collate

    def watched(self: AudioProcessor, samples: Any) -> Any:
        batch = collate(self, samples)
        shown.update(bytes(waveform.numpy()) for waveform in batch["waveform"])
        return batch

    monkeypatch.setattr(AudioProcessor, "collate", watched)
    options = {**SMALL, "processor.clip_seconds": 0.25}
    budget = {**BUDGET, "epochs": 3, "steps": None}
    run = selfsup.pretrain("audio/simclr", data=str(sounds), out=tmp_path / "run", overrides=options, **budget)
    assert len(shown) == 16 * (3 + 1), "three epochs, and the looks at the embeddings"
    shown.clear()
    fixed = {**options, "processor.keep": 1}
    selfsup.pretrain("audio/simclr", data=str(sounds), out=tmp_path / "fixed", overrides=fixed, **budget)
    assert len(shown) == 16
    monkeypatch.undo()
    rows = [{"audio": str(path)} for path in sorted(sounds.iterdir())]
    fewer = AudioProcessor(AudioProcessorConfig(sample_rate=8000, clip_seconds=0.25, keep=1))
    alone = Encoder(fewer, run.encoder.backbone, backbone_id=run.encoder.backbone_id, backbone_options={})
    assert np.array_equal(run.encoder.embed(rows), alone.embed(rows))
