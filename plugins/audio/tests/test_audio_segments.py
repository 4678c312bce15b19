"""Rows that are a part of a recording, from when to when in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from selfsup.artifacts import Encoder
from selfsup.data import Rows, load_source, prepare, row_hashes
from selfsup.errors import BadRowError, ColumnError
from selfsup.registry import registry
from selfsup_audio.decoding import read_header
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig

RATE = 8000
LONG = np.random.default_rng(0).normal(0, 0.1, 10 * RATE)
CUTS = [(0.0, 2.0), (2.5, 3.75), (3.0, 9.5), (9.0, 10.0)]


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A recording of 10 s, and files that hold its parts."""
    soundfile.write(tmp_path / "long.wav", LONG, RATE)
    (tmp_path / "cut").mkdir()
    for place, (start, end) in enumerate(CUTS):
        soundfile.write(tmp_path / "cut" / f"{place}.wav", LONG[round(start * RATE) : round(end * RATE)], RATE)
    return tmp_path


def rows_of(source: Any, **options: Any) -> Rows:
    return load_source(str(source), modality=registry().get("modality", "audio"), **options)


@pytest.mark.parametrize(
    ("suffix", "columns"), [("csv", ("start", "end")), ("jsonl", ("offset", "duration")), ("parquet", ("start", "duration"))]
)
def test_segments_give_what_the_cut_files_give(long: Path, suffix: str, columns: tuple[str, str]) -> None:
    table = pd.DataFrame({"audio": "long.wav", columns[0]: [cut[0] for cut in CUTS]})
    table[columns[1]] = [end - start if columns[1] == "duration" else end for start, end in CUTS]
    path = long / f"manifest.{suffix}"
    if suffix == "csv":
        table.to_csv(path, index=False)
    elif suffix == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    of_table, of_files = rows_of(path), rows_of(long / "cut")
    assert set(of_table.columns) == {"audio", *columns}
    assert "seconds" in of_table.findings.facts["segments"]
    for options in ({}, {"sample_rate": 4000, "clip_seconds": 1.5}, {"sample_rate": 16000, "keep": 1.0}):
        processor = AudioProcessor(AudioProcessorConfig(**options)).fit(of_table)
        assert processor.info() == AudioProcessor(AudioProcessorConfig(**options)).fit(of_files).info()
        for row, file in zip(of_table, of_files, strict=True):
            np.testing.assert_array_equal(processor.encode(row)["waveform"], processor.encode(file)["waveform"])
    assert len(set(row_hashes(of_table).tolist())) == len(CUTS)


def test_embeddings_of_segments_are_those_of_the_cut_files(long: Path) -> None:
    table = pd.DataFrame({"audio": "long.wav", "start": [cut[0] for cut in CUTS], "end": [cut[1] for cut in CUTS]})
    table.to_csv(long / "manifest.csv", index=False)
    rows = [rows_of(source) for source in (long / "manifest.csv", long / "cut")]
    processor = AudioProcessor(AudioProcessorConfig(clip_seconds=1)).fit(rows[0])
    backbone, options = registry().build_backbone("mel-cnn", {}, processor.info())
    encoder = Encoder(processor, backbone, backbone_id="mel-cnn", backbone_options=options)
    embeddings = [encoder.embed(each) for each in rows]
    np.testing.assert_allclose(*embeddings, atol=1e-6)
    assert np.abs(embeddings[0] - embeddings[0][:1]).max() > 1e-3


def test_segments_outside_the_file_are_bad_rows(long: Path) -> None:
    spans = [(0, 1), (1, None), (None, 2), (None, None), (9.5, 10.05), (9.5, 10.5), (12, 13), (-1, 2), (3, 3), (4, 3)]
    table = pd.DataFrame({"audio": "long.wav", "start": [a for a, _ in spans], "end": [b for _, b in spans]})
    table.to_csv(long / "manifest.csv", index=False)
    rows = rows_of(long / "manifest.csv")
    store = prepare(rows, AudioProcessor().fit(rows), max_bad_rows=0.5)
    assert store.kept.tolist() == [0, 1, 2, 3, 4], "an end 0.05 s after that of the file is a rounding error"
    reasons = [reason for _, reason in store.bad_rows]
    assert reasons[0].startswith("row 5 (long.wav, start 9.5, end 10.5): its segment of 9.5 to 10.5 s is outside the recording")
    assert "has 10 s" in reasons[0]
    assert "is outside" in reasons[1]
    assert all("must start at 0 or later" in reason for reason in reasons[2:])


def test_columns_of_other_names_are_chosen_and_turned_off(long: Path) -> None:
    table = pd.DataFrame({"file": "long.wav", "from": ["0:02", "3.5"], "to": ["0:00:04.5", "5"]})
    table["start"], table["duration"] = [100, 200], 10
    table.to_csv(long / "manifest.csv", index=False)
    rows = rows_of(long / "manifest.csv", columns={"audio": "file", "start": "from", "end": "to"})
    assert [read_header(row["audio"]).seconds for row in rows] == [10, 10]
    lengths = [
        int(AudioProcessor(AudioProcessorConfig(sample_rate=RATE, clip_seconds=3)).encode(row)["length"]) for row in rows
    ]
    assert lengths == [2.5 * RATE, 1.5 * RATE]
    whole = rows_of(long / "manifest.csv", columns={"audio": "file", "start": ""})
    assert set(whole.columns) == {"audio"}, "a duration alone is how long the file is"
    assert set(rows_of(long / "manifest.csv", columns={"audio": "file", "start": "", "duration": "duration"}).columns) == {
        "audio",
        "duration",
    }
    with pytest.raises(ColumnError, match="no column 'begin'"):
        rows_of(long / "manifest.csv", columns={"audio": "file", "start": "begin"})
    with pytest.raises(ColumnError, match="the roles are audio, start, end, offset, duration"):
        rows_of(long / "manifest.csv", columns={"image": "file"})


def test_a_value_that_is_no_time_is_a_bad_row(long: Path) -> None:
    processor = AudioProcessor(AudioProcessorConfig(sample_rate=RATE, clip_seconds=1))
    for value in ("soon", "1:2:3:4", float("inf"), [1.0]):
        with pytest.raises(BadRowError, match=r"its start .* is no time"):
            processor.encode({"audio": str(long / "long.wav"), "start": value})
