"""Whole runs on folders of recordings: pretraining, evaluation, fine-tuning, embedding, and what happens to bad files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

import selfsup
from selfsup.errors import TooManyBadRowsError

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


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


def test_a_run_on_a_folder_of_recordings(tmp_path: Path) -> None:
    sounds = write_folder(tmp_path / "sounds")
    run = selfsup.pretrain("audio/simclr", data=str(sounds), out=tmp_path / "run", overrides=SMALL, **BUDGET)
    encoder = selfsup.load(run.dir)
    assert encoder.processor.info()["sample_rate"] == 8000
    embedded = encoder.embed([{"audio": str(sounds / "low" / "000.wav")}, {"audio": str(sounds / "high" / "001.flac")}])
    assert embedded.shape == (2, 16)
    (record,) = selfsup.evaluate(encoder, data=str(sounds), evaluators=["knn"])
    assert record.metrics["accuracy"] > 0.8


def test_bad_files_are_named_and_skipped(tmp_path: Path) -> None:
    sounds = write_folder(tmp_path / "sounds")
    (sounds / "low" / "broken.wav").write_bytes(b"RIFF, but no more of it")
    (sounds / "high" / "empty.flac").touch()
    with pytest.raises(TooManyBadRowsError, match=r"high/empty.flac\): the recording is empty"):
        selfsup.pretrain("audio/simclr", data=str(sounds), out=tmp_path / "run", overrides=SMALL, **BUDGET)
    selfsup.pretrain("audio/simclr", data=str(sounds), out=tmp_path / "other", overrides=SMALL, max_bad_rows=0.1, **BUDGET)


def test_spoken_digits_of_unseen_speakers(tmp_path: Path) -> None:
    base = os.environ.get("SELFSUP_DATA")
    if not base or not (Path(base) / "audio" / "fsdd").is_dir():
        pytest.skip("SELFSUP_DATA names no folder with audio/fsdd in it")
    run = selfsup.pretrain("audio/random-init", data="fsdd", out=tmp_path / "run", seed=0)
    (record,) = selfsup.evaluate(run.encoder, data="fsdd", evaluators=["knn"])
    assert record.metrics["accuracy"] > 0.3
