"""What was found in the data, and how it is shown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from selfsup.data import Findings, load_source
from selfsup.registry.specs import ModalitySpec
from selfsup.runtime.findings import listed_names, of_info, suffix_counts

SOUND = ModalitySpec(
    id="sound", summary="x", target="x:y", columns={"audio": "Audio"}, suffixes=(".wav", ".flac"), backbone="none"
)


def test_facts_on_one_topic_are_joined_and_warnings_said_once() -> None:
    found = Findings({"files": "20 taken"}, ["careful"]).joined(Findings({"files": "4 passed over"}, ["careful", "twice"]))
    assert found.lines("Data: x") == ["Data: x", "  files: 20 taken; 4 passed over", "Warning: careful", "Warning: twice"]
    assert found.as_json() == {"facts": {"files": "20 taken; 4 passed over"}, "warnings": ["careful", "twice"]}


def test_a_processor_that_says_nothing_is_described_by_its_info() -> None:
    info = {"image_size": 32, "rate": 0.5, "mean": [0.1, 0.2], "vocabulary": list(range(100)), "none": [], "deep": {"a": 1}}
    assert of_info(info, {"image_size": "auto", "rate": 0.5}).facts == {
        "image size": "32 (detected; --set processor.image_size=)",
        "rate": "0.5",
        "mean": "0.1, 0.2",
        "vocabulary": "100 entries",
    }


def test_long_lists_are_cut() -> None:
    assert listed_names("abcdefghij") == "a, b, c, d, e, f, g, h and 2 more"
    assert suffix_counts(Counter({".wav": 2, "": 1, ".opus": 3})) == "3 .opus, 2 .wav, 1 without suffix"


def test_files_that_are_passed_over_are_counted(tmp_path: Path) -> None:
    for name in ("a/1.wav", "a/2.FLAC", "b/3.wav", "b/4.xyz", "b/5.XYZ", "notes", ".hidden.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    rows = load_source(str(tmp_path), modality=SOUND)
    assert rows.findings.facts["files"] == "3 used (2 .wav, 1 .flac); 3 skipped by suffix (2 .xyz, 1 without suffix)"
    assert rows.findings.facts["label"] == "column 'label'"
