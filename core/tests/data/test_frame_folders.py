"""Folders of frames as rows: a folder that holds still frames and nothing else that counts is one sample."""

import os

import pytest

from selfsup.data import load_source
from selfsup.data.sources.folders import walk_files
from selfsup.errors import ColumnError, SourceError
from selfsup.registry.specs import ModalitySpec

MODALITY = ModalitySpec(
    id="film", summary="Films.", target="films:Processor", columns={"video": "Video"}, suffixes=(".mp4",),
    frame_suffixes=(".png", ".jpg"), backbone="none",
)  # fmt: skip


def put(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    return root


def found(root):
    return [file.relative for file in walk_files(root, MODALITY.suffixes, MODALITY.frame_suffixes)]


def test_a_leaf_of_frames_is_one_row_and_other_folders_are_not(tmp_path):
    put(tmp_path, "a/one/1.png", "a/one/2.PNG", "a/one/notes.txt", "a/two.mp4", "b/c/three/1.jpg", "poster.jpg", "b/cover.png",
        "d/thumbnail.png", "d/film.mp4", "e/.hidden/1.png", "f/readme.txt")  # fmt: skip
    assert found(tmp_path) == ["a/one", "a/two.mp4", "b/c/three", "d/film.mp4"]
    assert [file.relative for file in walk_files(tmp_path, (".mp4",))] == ["a/two.mp4", "d/film.mp4"]


def test_classes_are_the_folders_around_the_rows(tmp_path):
    put(tmp_path, "run/x/1.png", "run/y/1.png", "walk/z/1.png", "walk/film.mp4")
    rows = load_source(tmp_path, modality=MODALITY, needs_label=True)
    assert rows.class_names == ("run", "walk")
    assert [row["video"]["path"] for row in rows] == [
        str(tmp_path / path) for path in ("run/x", "run/y", "walk/film.mp4", "walk/z")
    ]
    assert rows.labels().tolist() == [0, 0, 1, 1]
    assert rows.describe(1) == "row 1 (run/y)"


def test_folders_of_frames_in_no_class_are_rows_without_labels(tmp_path):
    put(tmp_path, "x/1.png", "y/1.png")
    rows = load_source(tmp_path, modality=MODALITY)
    assert rows.label is None
    assert len(rows) == 2
    with pytest.raises(ColumnError, match="x is in no class folder"):
        load_source(tmp_path, modality=MODALITY, needs_label=True)


def test_splits_hold_folders_of_frames(tmp_path):
    put(tmp_path, "train/run/x/1.png", "test/run/y/1.png", "test/run/z/1.png")
    assert len(load_source(tmp_path, modality=MODALITY)) == 1
    assert len(load_source(tmp_path, modality=MODALITY, split="test")) == 2


def test_any_change_of_a_frame_changes_the_fingerprint(tmp_path):
    put(tmp_path, "run/x/1.png", "run/x/2.png")
    fingerprints = [load_source(tmp_path, modality=MODALITY).fingerprint for _ in range(2)]
    assert fingerprints[0] == fingerprints[1]
    status = (tmp_path / "run/x/1.png").stat()
    os.utime(tmp_path / "run/x/1.png", ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))
    fingerprints.append(load_source(tmp_path, modality=MODALITY).fingerprint)
    (tmp_path / "run/x/2.png").rename(tmp_path / "run/x/3.png")
    fingerprints.append(load_source(tmp_path, modality=MODALITY).fingerprint)
    assert len(set(fingerprints)) == 3


def test_a_folder_with_neither_says_what_was_looked_for(tmp_path):
    put(tmp_path, "1.png", "2.png")
    with pytest.raises(SourceError, match=r"no file that ends in \.mp4.*, and no folder of frames \(\.png, \.jpg\)"):
        load_source(tmp_path, modality=MODALITY)
