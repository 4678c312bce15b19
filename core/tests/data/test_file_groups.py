"""Rows that are groups of files: tar archives, captions beside files, COCO annotations; and where the files of a table lie."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

from selfsup.data import Rows, load_source
from selfsup.data.sources.file_groups import FileGroups
from selfsup.data.sources.layout import of_one_kind
from selfsup.data.sources.media.encode import kind_of_value
from selfsup.data.sources.media.folders import find_folder, paths_in
from selfsup.data.sources.media.kinds import kind_of_bytes, kind_of_path, looks_like_paths, medium_of
from selfsup.data.sources.sidecars import read_sidecars
from selfsup.data.sources.streams.shards import TarShard
from selfsup.data.sources.tables.coco import is_coco, read_coco
from selfsup.data.sources.tables.read import read_tables
from selfsup.errors import ConfigError, SourceError
from selfsup.registry.specs import ModalitySpec

PICTURES = ModalitySpec(
    id="pictures", summary="Pictures.", target="a:B", backbone="b", columns={"image": "Image"}, suffixes=(".jpg",)
)
SCANS = ModalitySpec(id="scans", summary="Scans.", target="a:B", backbone="b", columns={"scan": "Image"}, suffixes=(".dcm",))


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_value_that_its_column_cannot_hold_is_missing_from_a_streamed_row(tmp_path: Path) -> None:
    values = [1, 2, 3.7, "n/a", [4], True, "5", 10**30]
    path = write_tar(tmp_path / "a.tar", {f"{n}.json": json.dumps({"n": v, "m": v}).encode() for n, v in enumerate(values)})
    groups = FileGroups((), lines=False)
    groups.learn("a", {"json": lambda: b'{"n": 1, "m": 0.5}'})
    rows = list(TarShard(str(path), groups, ("n", "m")).records(0))
    assert [row["n"] for row in rows] == [1, 2, 3.7, None, None, 1, 5, 10**30]  # nothing is cut off
    assert [row["m"] for row in rows] == [1, 2, 3.7, None, None, 1, 5, 1e30]
    assert list(TarShard(str(path), groups, ("m",)).records(2)) == [{"m": row["m"]} for row in rows[2:]]


MEMBERS = {
    "x/0.jpg": b"\xff\xd8\xff0", "x/0.txt": b"a dog\n\n it runs ", "x/0.json": b'{"width": 4, "tags": ["a"], "box": [1, 2]}',
    "x/1.left.jpg": b"\xff\xd8\xff1", "x/1.jpg": b"\xff\xd8\xff2", "x/1.cls": b"7", "x/1.notes": b"?",
    "x/2.JPG": b"\xff\xd8\xff3", "x/2.txt": b"", "x/2.json": b'{"width": 2.5}', ".hidden": b"", "README": b"",
}  # fmt: skip


@pytest.mark.parametrize(("name", "mode"), [("rows.tar", "w"), ("rows.tar.gz", "w:gz")])
def test_a_tar_archive_is_a_row_for_each_name(tmp_path: Path, name: str, mode: str) -> None:
    read = read_tables([write_tar(tmp_path / name, MEMBERS, mode)], modalities=[PICTURES], joined=True)
    rows = read.dataset.with_format(None)
    assert type(rows.features["image"]).__name__ == "Image"
    assert rows["key"] == ["x/0", "x/1", "x/2"]
    assert [row["image"]["bytes"][-1:] for row in rows] == [b"0", b"2", b"3"]
    assert rows["image"][0]["path"] == "x/0.jpg"
    assert [row["left"] and row["left"]["bytes"] for row in rows] == [None, b"\xff\xd8\xff1", None]
    assert rows["text"] == [["a dog", "it runs"], None, []]
    assert rows["width"] == [4.0, None, 2.5]
    assert rows["tags"] == [["a"], None, None]
    assert rows["label"] == [None, 7, None]
    assert "box" not in rows.column_names
    assert read.findings.facts["files"] == "9 used (4 .jpg, 2 .json, 2 .txt, 1 .cls); 1 skipped by suffix (1 .notes)"


def test_two_processes_may_write_the_same_groups(tmp_path: Path) -> None:
    target = tmp_path / "groups.arrow"
    content = [("a", {"txt": lambda: b"a dog"}), ("b", {"txt": lambda: b"a cat"})]
    calls = []

    def groups() -> Any:
        calls.append(0)
        yield content[0]
        if len(calls) == 2:  # while this process writes, another one does so, and is done first
            FileGroups([PICTURES], lines=False).write(lambda: content, target)
        yield content[1]

    assert FileGroups([PICTURES], lines=False).write(groups, target)["text"] == ["a dog", "a cat"]
    assert [file.name for file in tmp_path.iterdir()] == ["groups.arrow"]


def test_numbers_that_no_column_holds_are_texts(tmp_path: Path) -> None:
    members = {"0.jpg": b"\xff\xd8\xff", "0.json": b'{"hash": 18446744073709551615}', "0.cls": "\u00b2".encode()}
    members |= {"1.jpg": b"\xff\xd8\xff", "1.json": b'{"hash": 5}', "1.cls": b"--1"}
    rows = read_tables([write_tar(tmp_path / "rows.tar", members)], modalities=[PICTURES], joined=True).dataset
    assert rows["hash"] == ["18446744073709551615", "5"]
    assert rows["label"] == ["\u00b2", "--1"]


def test_the_texts_of_an_archive_stay_whole_for_a_modality_of_texts(tmp_path: Path) -> None:
    read = read_tables([write_tar(tmp_path / "rows.tar", MEMBERS)], modalities=[PICTURES])
    assert read.dataset["text"] == ["a dog\n\n it runs", None, ""]


def test_archives_are_a_source_of_one_modality_with_splits_and_labels(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for split, numbers in (("train-0", (0, 1)), ("train-1", (2,)), ("test", (3, 4))):
        files = {
            f"{n}.{suffix}": content for n in numbers for suffix, content in (("jpg", b"\xff%d" % n), ("cls", b"%d" % (n % 2)))
        }
        write_tar(folder / f"{split}.tar", files)
    rows = load_source(folder, modality=PICTURES)
    assert [row["image"]["bytes"] for row in rows] == [b"\xff0", b"\xff1", b"\xff2"]
    assert rows.labels().tolist() == [0, 1, 0]
    test = load_source(folder, modality=PICTURES, split="test")
    assert len(test) == 2
    assert len({rows.fingerprint, test.fingerprint}) == 2
    alone = load_source(folder / "test.tar", modality=PICTURES)
    assert alone.fingerprint == test.fingerprint


def test_a_damaged_or_empty_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(SourceError, match="as a tar archive"):
        load_source(tmp_path / "bad.tar", modality=PICTURES)
    with pytest.raises(SourceError, match="no file"):
        load_source(write_tar(tmp_path / "empty.tar", {".x": b""}), modality=PICTURES)


def test_an_archive_beside_a_table_is_passed_over(tmp_path: Path) -> None:
    files = [tmp_path / "all.tar.gz", tmp_path / "rows.csv"]
    assert of_one_kind(files) == ([files[1]], [files[0]])
    assert of_one_kind(files[:1]) == (files[:1], [])


def files(root: Path, **contents: str) -> Path:
    for name, content in contents.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_captions_beside_files(tmp_path: Path) -> None:
    root = files(
        tmp_path / "d", a_jpg="0", a_txt="one\ntwo", b_v2_jpg="1", b_v2_txt="three", c_jpg="2", z_txt="alone", n_md="x"
    )
    found = read_sidecars(root, [PICTURES])
    assert found is not None
    rows, mark, findings = found
    assert rows["key"] == ["a", "b.v2", "c"]
    assert rows.with_format(None)["image"][0] == {"bytes": None, "path": "a.jpg"}
    assert rows["text"] == [["one", "two"], ["three"], None]
    assert findings.facts["captions"] == "1 of 3 rows have no text beside them"
    assert findings.warnings == ["Texts without an image, recording or video beside them are skipped: 1 (z.txt)."]
    (root / "b.v2.txt").write_text("changed")
    again = read_sidecars(root, [PICTURES])
    assert again is not None
    assert again[1] != mark
    assert again[0]["text"][1] == ["changed"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    root = files(tmp_path / "d", a_jpg="0", a_txt="one")
    for suffix in ("jpg", "txt"):
        (root / f"a.{suffix}").rename(root / f"{name}.{suffix}")
    found = read_sidecars(root, [PICTURES])
    assert found is not None
    rows = Rows(dataset=found[0], columns={"image": "image"}, root=root, media=frozenset({"image"}))
    assert Path(next(iter(rows))["image"]["path"]).read_text() == "0"
    assert found[0]["text"] == ["one"]
    read = read_tables([write_tar(tmp_path / "rows.tar", {f"{name}.jpg": b"0"})], modalities=[PICTURES])
    assert read.dataset["key"] == ["caf\\udce9"]


def test_folders_are_classes_or_hold_one_kind_each(tmp_path: Path) -> None:
    root = files(tmp_path / "a", cat__1_jpg="0", cat__1_txt="a cat", dog__1_jpg="1", dog__1_txt="a dog")
    found = read_sidecars(root, [PICTURES])
    assert found is not None
    assert found[0]["label"] == ["cat", "dog"]
    assert found[0]["text"] == ["a cat", "a dog"]
    root = files(tmp_path / "b", images__1_jpg="0", captions__1_txt="a cat", images__x__2_jpg="1", captions__x__2_txt="a dog")
    found = read_sidecars(root, [PICTURES])
    assert found is not None
    assert found[0].column_names == ["key", "image", "text"]
    assert sorted(found[0]["text"]) == ["a cat", "a dog"]
    assert read_sidecars(files(tmp_path / "c", a_txt="x"), [PICTURES]) is None


def test_files_without_any_caption_say_so(tmp_path: Path) -> None:
    found = read_sidecars(files(tmp_path / "d", a_jpg="0", b_dcm="1"), [PICTURES, SCANS])
    assert found is not None
    assert found[2].facts["captions"] == "none beside the 2 rows (a.txt beside a.jpg)"
    assert found[2].facts["files"] == "2 used (1 .dcm, 1 .jpg)"


COCO = {
    "images": [{"id": 3, "file_name": "a.jpg"}, {"id": 4, "file_name": "b.jpg"}],
    "annotations": [
        {"image_id": 3, "caption": "one\n"}, {"image_id": 3, "caption": "two"}, {"image_id": 9, "caption": "of none"},
        {"image_id": 4, "caption": " "},
    ],
}  # fmt: skip


def test_annotations_of_coco(tmp_path: Path) -> None:
    file = tmp_path / "captions_train2017.json"
    file.write_text(json.dumps(COCO))
    assert is_coco(file)
    rows, findings = read_coco([file])
    assert rows["image"] == ["a.jpg", "b.jpg"]
    assert rows["captions"] == [["one", "two"], []]
    assert findings.facts["captions"] == "2, for 2 images; none for 1"
    assert [text[-3:] for text in findings.warnings] == [" 1.", " 1."]
    file.write_text(json.dumps({**COCO, "annotations": [{"image_id": 3, "bbox": [1, 2]}]}))
    with pytest.raises(SourceError, match="annotations without captions"):
        read_coco([file])
    for other in ("[1]", '{"images": []}', "{"):
        file.write_text(other)
        assert not is_coco(file)


def test_the_files_of_a_table_may_lie_in_a_folder_near_it(tmp_path: Path) -> None:
    for name in ("set/table.csv", "set/images/train/a.jpg", "pictures/b.jpg", "set/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = tmp_path / "set"
    assert find_folder(root, ["a.jpg"]) == root / "images" / "train"
    assert find_folder(root, ["b.jpg"]) == tmp_path / "pictures"
    assert find_folder(root, ["c.jpg", "no.jpg"]) == root
    assert find_folder(root, ["no.jpg"]) == root
    assert find_folder(root, ["a.jpg"], str(tmp_path)) == tmp_path
    assert find_folder(root / "images", ["b.jpg"], known=str(tmp_path / "pictures")) == tmp_path / "pictures"
    with pytest.raises(ConfigError, match="is no folder"):
        find_folder(root, [], "nowhere")
    assert paths_in([None, "a", {"bytes": b"x", "path": "b"}, {"bytes": None, "path": "c"}, "/d"]) == ["a", "c"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a/b.JPG", "image"), ("x.webp", "image"), ("x.flac", "audio"), ("x.mp4", "video"), ("x.gif", "image"), ("x.txt", ""),
        ("x.dcm", "image"), ("x", ""),
        (b"\x89PNG\r\n", "image"), (b"RIFF....WAVEfmt ", "audio"), (b"....ftypisom", "video"), (b"plain text", ""),
    ],
)  # fmt: skip
def test_the_medium_of_a_file(value: Any, kind: str) -> None:
    assert (kind_of_path(value, [SCANS]) if isinstance(value, str) else kind_of_bytes(value)) == kind


def test_the_medium_of_a_column() -> None:
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    text = datasets.Value("string")
    assert medium_of(datasets.Video(decode=False), []) == "video"
    assert medium_of(struct, [{"bytes": b"fLaC....", "path": None}, {"bytes": None, "path": "b.wav"}]) == "audio"
    assert medium_of(struct, [{"bytes": b"fLaC....", "path": None}, {"bytes": None, "path": "b.jpg"}]) == ""
    assert medium_of(text, ["a.jpg"] * 9 + ["none"]) == "image"
    assert medium_of(text, ["a.jpg", "none"]) == ""
    assert looks_like_paths(["a.wav", " "])
    assert not looks_like_paths(["see a.wav for more", "text", "b.wav"], (".wav",))


def test_the_medium_of_a_value_in_memory() -> None:
    import numpy as np
    import torch

    samples = np.zeros(100, dtype=np.float32)
    assert kind_of_value({"array": samples, "sampling_rate": 8}) == "audio"
    assert kind_of_value(samples) == ""
    assert kind_of_value(samples, rate=True) == "audio"
    assert kind_of_value(np.zeros((4, 4), dtype=np.uint8)) == "image"
    assert kind_of_value(np.zeros((4, 4))) == ""
    assert kind_of_value(torch.zeros(3, 4, 4)) == "image"
    assert kind_of_value(np.zeros((2, 4, 4, 3))) == "video"
    assert kind_of_value({"bytes": b"fLaC", "path": None}) == "audio"
    assert kind_of_value({"a": 1}) == kind_of_value("a.jpg") == kind_of_value([1, 2]) == ""
