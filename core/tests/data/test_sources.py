"""Source strings: what each form stands for, and the message where it stands for nothing."""

from __future__ import annotations

import io
import os
import socket
import sys
import types
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from selfsup.data import Rows, available_splits, load_source
from selfsup.errors import ColumnError, SourceError
from selfsup.registry import registry
from selfsup.registry.specs import DatasetSpec, ModalitySpec

PHOTOS = ModalitySpec(
    id="photos", summary="Pictures.", target="a:b", columns={"image": "Image"}, suffixes=(".jpg", ".png"), backbone="none"
)
TEXTS = ModalitySpec(
    id="texts", summary="Texts.", target="a:b", columns={"text": "string"}, suffixes=(".txt",), backbone="none"
)
CELLS = ModalitySpec(id="cells", summary="Tables.", target="a:b", backbone="none")

REAL_DATA = os.environ.get("SELFSUP_DATA")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def picture(size: tuple[int, int] = (8, 8), format: str = "PNG") -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(buffer, format)
    return buffer.getvalue()


def put(path: Path, content: bytes | str = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def picture_table(path: Path, labels: list, names: list[str] | None = None, column: str = "image") -> Path:
    label = datasets.ClassLabel(names=names) if names else None
    data = datasets.Dataset.from_dict(
        {column: [{"bytes": picture(), "path": f"{i}.png"} for i in range(len(labels))], "label": labels}
    ).cast_column(column, datasets.Image(decode=False))
    if label:
        data = data.cast_column("label", label)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.to_parquet(path)
    return path


def arrow_stream(columns: dict[str, list]) -> bytes:
    table, sink = pa.table(columns), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_photo_folder_with_classes_hidden_files_and_other_files(tmp_path, no_network):
    root = tmp_path / "photos"
    put(root / "dog" / "b.jpg", picture((9, 7)))
    put(root / "cat" / "a.PNG", picture((16, 16)))
    put(root / "cat" / "deep" / "c.png", picture())
    put(root / "cat" / ".hidden.png", picture())
    put(root / ".git" / "d.png", picture())
    put(root / "__MACOSX" / "e.png", picture())
    put(root / "empty" / "readme.txt", "no picture")
    (root / "cat" / "loop").symlink_to(root / "cat", target_is_directory=True)
    rows = load_source(str(root), modality=PHOTOS, needs_label=True)
    assert rows.class_names == ("cat", "dog")
    assert [Path(row["image"]["path"]).relative_to(root).as_posix() for row in rows] == [
        "cat/a.PNG", "cat/deep/c.png", "dog/b.jpg",
    ]  # fmt: skip
    assert rows.labels().tolist() == [0, 0, 1]
    assert all(set(row) == {"image"} for row in rows), "a row must not hold the label"
    assert Path(rows.read([2])[0]["image"]["path"]).read_bytes() == picture((9, 7))
    assert rows.describe(2) == "row 2 (dog/b.jpg)"


def test_photo_folder_without_class_folders_has_no_labels(tmp_path):
    put(tmp_path / "photos" / "a.jpg", picture())
    put(tmp_path / "photos" / "cat" / "b.jpg", picture())
    rows = load_source(tmp_path / "photos", modality=PHOTOS)
    assert len(rows) == 2
    assert rows.label is None
    assert rows.class_names == ()
    with pytest.raises(ColumnError, match="in no class folder"):
        load_source(tmp_path / "photos", modality=PHOTOS, needs_label=True)


def test_a_table_beside_media_files_is_named_where_labels_are_asked_for(tmp_path):
    put(tmp_path / "photos" / "a.jpg", picture())
    put(tmp_path / "photos" / "labels.csv", "image,tags\na.jpg,cat|dog\n")
    with pytest.raises(ColumnError, match=r"folder of files, which have no column 'tags'. If .*labels\.csv lists the files"):
        load_source(tmp_path / "photos", modality=PHOTOS, label="tags")
    with pytest.raises(ColumnError, match=r"in no class folder.*labels\.csv lists the files"):
        load_source(tmp_path / "photos", modality=PHOTOS, needs_label=True)
    rows = load_source(tmp_path / "photos" / "labels.csv", modality=PHOTOS, label="tags", label_kind="classes")
    assert (rows.class_names, rows.labels().tolist()) == (("cat", "dog"), [[1, 1]])


def test_split_folders_and_their_other_names(tmp_path):
    put(tmp_path / "set" / "training" / "cat" / "a.jpg")
    put(tmp_path / "set" / "val" / "cat" / "b.jpg")
    put(tmp_path / "set" / "val" / "cat" / "c.jpg")
    assert available_splits(tmp_path / "set", modality=PHOTOS) == ("train", "validation")
    assert len(load_source(tmp_path / "set", modality=PHOTOS)) == 1
    assert len(load_source(tmp_path / "set", modality=PHOTOS, split="validation")) == 2
    assert len(load_source(f"{tmp_path}/set:val", modality=PHOTOS)) == 2
    with pytest.raises(SourceError, match=r"no 'test' split; it has train, validation"):
        load_source(f"{tmp_path}/set:test", modality=PHOTOS)
    put(tmp_path / "photos" / "cat" / "a.jpg")
    assert available_splits(tmp_path / "photos", modality=PHOTOS) == ("train",)
    with pytest.raises(SourceError, match="not split into train and test"):
        load_source(tmp_path / "photos", modality=PHOTOS, split="test")
    put(tmp_path / "texts" / "notes.txt", "no picture")
    with pytest.raises(SourceError, match=r"texts holds nothing usable for photos.*\.jpg, \.png, \.parquet"):
        load_source(tmp_path / "texts", modality=PHOTOS)
    with pytest.raises(SourceError, match=r"single \.jpg file.*Give a folder"):
        load_source(tmp_path / "photos" / "cat" / "a.jpg", modality=PHOTOS)


def test_class_that_is_called_train(tmp_path):
    put(tmp_path / "vehicles" / "train" / "a.jpg")
    put(tmp_path / "vehicles" / "plane" / "b.jpg")
    rows = load_source(tmp_path / "vehicles", modality=PHOTOS)
    assert rows.class_names == ("plane", "train")


def test_changed_photo_changes_the_fingerprint(tmp_path):
    file = put(tmp_path / "photos" / "cat" / "a.jpg", picture())
    before = load_source(tmp_path / "photos", modality=PHOTOS).fingerprint
    assert load_source(tmp_path / "photos", modality=PHOTOS).fingerprint == before
    put(file, picture((20, 20)))
    assert load_source(tmp_path / "photos", modality=PHOTOS).fingerprint != before


def test_parquet_with_feature_metadata(tmp_path, no_network):
    path = picture_table(tmp_path / "t.parquet", [1, 0, 1], ["zebra", "ape"])
    rows = load_source(path, modality=PHOTOS, needs_label=True)
    assert rows.class_names == ("zebra", "ape"), "the order is that of the ClassLabel feature"
    assert rows.labels().tolist() == [1, 0, 1]
    assert rows.read([0])[0]["image"] == {"bytes": picture(), "path": "0.png"}


def test_table_fingerprint_is_of_its_content(tmp_path):
    first = picture_table(tmp_path / "a" / "t.parquet", [0, 1], ["x", "y"])
    second = put(tmp_path / "b" / "other.parquet", first.read_bytes())
    third = picture_table(tmp_path / "c" / "t.parquet", [0, 1, 1], ["x", "y"])
    one, two, three = (load_source(path, modality=PHOTOS).fingerprint for path in (first, second, third))
    assert one == two
    assert one != three


def test_column_override_and_unknown_names(tmp_path):
    path = picture_table(tmp_path / "t.parquet", [0, 1], column="photo")
    rows = load_source(path, modality=PHOTOS, columns={"image": "photo"})
    assert set(next(iter(rows))) == {"image"}
    with pytest.raises(ColumnError, match=r"no column 'foto'.*photo \(Image\), label \(int64\)"):
        load_source(path, modality=PHOTOS, columns={"image": "foto"})
    with pytest.raises(ColumnError, match=r"no role 'picture'.*image"):
        load_source(path, modality=PHOTOS, columns={"picture": "photo"})
    with pytest.raises(ColumnError, match=r"Column 'label' of .* is int64, but 'image' needs Image"):
        load_source(path, modality=PHOTOS, columns={"image": "label"})


def test_only_column_of_the_type_is_found_and_several_are_ambiguous(tmp_path):
    put(tmp_path / "one.csv", "sentence,stars\ngood,3\nbad,1\n")
    put(tmp_path / "two.csv", "a,b\ngood,x\nbad,y\n")
    rows = load_source(tmp_path / "one.csv", modality=TEXTS)
    assert rows.columns == {"text": "sentence"}
    with pytest.raises(ColumnError, match=r"several columns that could be the 'text' \(a, b\).*--column text=NAME"):
        load_source(tmp_path / "two.csv", modality=TEXTS)
    first, second = (load_source(tmp_path / "two.csv", modality=TEXTS, columns={"text": name}) for name in "ab")
    assert [row["text"] for row in second] == ["x", "y"]
    assert first.fingerprint != second.fingerprint
    with pytest.raises(ColumnError, match=r"no column of type Image for 'image'.*stars"):
        load_source(tmp_path / "one.csv", modality=PHOTOS)


def test_table_of_photo_paths(tmp_path):
    put(tmp_path / "shots" / "a.jpg", picture())
    put(tmp_path / "table.csv", "image,kind\nshots/a.jpg,cat\n")
    rows = load_source(tmp_path / "table.csv", modality=PHOTOS, label="kind")
    assert next(iter(rows))["image"] == {"bytes": None, "path": str(tmp_path / "shots" / "a.jpg")}


def test_missing_label_names_the_columns(tmp_path):
    put(tmp_path / "t.csv", "text,sort\ngood,a\nbad,b\n")
    with pytest.raises(ColumnError, match=r"no label column 'kind'.*text \(string\), sort \(string\)"):
        load_source(tmp_path / "t.csv", modality=TEXTS, label="kind")
    with pytest.raises(ColumnError, match=r"no label column, and labels are needed.*sort.*--label"):
        load_source(tmp_path / "t.csv", modality=TEXTS, columns={"text": "text"}, needs_label=True)


def test_row_of_a_table_is_all_columns_but_the_label(tmp_path):
    put(tmp_path / "t.csv", "age,job,income\n20,cook,low\n30,smith,high\n")
    rows = load_source(tmp_path / "t.csv", modality=CELLS, label="income")
    assert list(rows) == [{"age": 20, "job": "cook"}, {"age": 30, "job": "smith"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "text,label\ngood,a\nbad,b\n"),
        ("t.tsv", "text\tlabel\ngood\ta\nbad\tb\n"),
        ("t.jsonl", '{"text": "good", "label": "a"}\n{"text": "bad", "label": "b"}\n'),
        ("t.json", '[{"text": "good", "label": "a"}, {"text": "bad", "label": "b"}]'),
        ("t.arrow", arrow_stream({"text": ["good", "bad"], "label": ["a", "b"]})),
        ("t.txt", "good\n\n   \nbad\n"),
    ],
)
def test_table_formats(tmp_path, no_network, name, content):
    rows = load_source(put(tmp_path / name, content), modality=TEXTS)
    assert [row["text"] for row in rows] == ["good", "bad"]
    assert rows.class_names == (() if name == "t.txt" else ("a", "b"))


def test_folder_of_texts_by_class(tmp_path):
    put(tmp_path / "reviews" / "neg" / "1.txt", "bad\nvery")
    put(tmp_path / "reviews" / "pos" / "1.txt", "good")
    rows = load_source(tmp_path / "reviews", modality=TEXTS)
    assert [row["text"] for row in rows] == ["bad\nvery", "good"]
    assert rows.class_names == ("neg", "pos")


def test_folder_of_table_shards(tmp_path):
    for split, number, text in [("train", 0, "a"), ("train", 1, "b"), ("test", 0, "c")]:
        put(tmp_path / "set" / f"{split}-0000{number}-of-00002.csv", f"text\n{text}\n")
    assert [row["text"] for row in load_source(tmp_path / "set", modality=TEXTS)] == ["a", "b"]
    assert [row["text"] for row in load_source(f"{tmp_path / 'set'}:test", modality=TEXTS)] == ["c"]
    for number, column in enumerate(("text", "words")):
        datasets.Dataset.from_dict({column: ["x"]}).to_parquet(tmp_path / "unlike" / f"{number}.parquet")
    with pytest.raises(SourceError, match=r"1\.parquet has columns \['words'\], but 0\.parquet \['text'\]"):
        load_source(tmp_path / "unlike", modality=TEXTS)
    put(tmp_path / "mixed" / "a.csv", "text\nx\n")
    put(tmp_path / "mixed" / "b.jsonl", '{"text": "x"}\n')
    with pytest.raises(SourceError, match=r"several kinds \(\.csv, \.jsonl\)"):
        load_source(tmp_path / "mixed", modality=TEXTS)
    put(tmp_path / "set" / "train.jsonl", '{"text": "x"}\n')
    with pytest.raises(SourceError, match=r"several kinds \(\.csv, \.jsonl\)"):
        load_source(tmp_path / "set", modality=TEXTS)


@pytest.mark.parametrize(
    ("name", "content"), [("t.parquet", "no parquet"), ("t.json", "{no json"), ("t.csv", 'a,b\n"1'), ("t.arrow", "no arrow")]
)
def test_table_that_is_not_what_its_suffix_says(tmp_path, name, content):
    with pytest.raises(SourceError, match=rf"Cannot read .*{name}"):
        load_source(put(tmp_path / name, content), modality=TEXTS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", ""),
        ("t.csv", "text,label\n\n"),
        ("t.tsv", "text"),
        ("t.txt", " \n\n"),
        ("t.jsonl", ""),
        ("t.arrow", arrow_stream({"text": []})),
    ],
)
def test_text_file_without_a_row(tmp_path, name, content):
    with pytest.raises(SourceError, match=rf"{name} holds no row"):
        load_source(put(tmp_path / name, content), modality=TEXTS)


def test_data_set_object_and_rows(tmp_path):
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    rows = load_source(data, modality=TEXTS)
    assert rows.fingerprint == load_source(datasets.Dataset.from_dict(data.to_dict()), modality=TEXTS).fingerprint
    assert load_source(rows, modality=TEXTS) is rows
    with pytest.raises(ColumnError, match="has no labels"):
        load_source(rows.without_labels(), modality=TEXTS, needs_label=True)


@pytest.fixture
def toy_set(monkeypatch):
    """A registered data set ``toy-set`` of two splits."""

    def load(split: str) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"text": [split] * 3, "sort": ["a", "b", "a"]})

    module = types.ModuleType("toy_set_module")
    module.load = load
    monkeypatch.setitem(sys.modules, "toy_set_module", module)
    spec = DatasetSpec(
        id="toy-set", summary="Toy.", target="toy_set_module:load", modality="texts", label="sort", licence="none"
    )
    monkeypatch.setitem(registry().datasets, "toy-set", spec)
    return module


def test_registered_name(toy_set, no_network):
    assert available_splits("toy-set", modality=TEXTS) == ("train", "test")
    rows = load_source("toy-set:test", modality=TEXTS)
    assert (rows.read([0]), rows.label, rows.split, rows.name) == ([{"text": "test"}], "sort", "test", "toy-set")
    with pytest.raises(SourceError, match="no 'validation' split; it has train, test"):
        load_source("toy-set", modality=TEXTS, split="validation")
    with pytest.raises(SourceError, match="is of modality texts, not photos"):
        load_source("toy-set", modality=PHOTOS)
    with pytest.raises(SourceError, match=r"'toy-sat' is no file.*Did you mean 'toy-set'"):
        load_source("toy-sat", modality=TEXTS)

    def unreachable(split: str):
        raise ConnectionError("no route to host")

    toy_set.load = unreachable
    with pytest.raises(SourceError, match=r"fetched from the network.*no route to host.*SELFSUP_DATA"):
        load_source("toy-set", modality=TEXTS)


def test_selfsup_data_goes_before_the_registered_loader(toy_set, tmp_path, monkeypatch):
    put(tmp_path / "base" / "texts" / "toy-set" / "train.csv", "text,sort\nlocal,z\n")
    monkeypatch.setenv("SELFSUP_DATA", str(tmp_path / "base"))
    rows = load_source("toy-set", modality=TEXTS)
    assert list(rows) == [{"text": "local"}]
    assert rows.label == "sort"
    assert available_splits("toy-set", modality=TEXTS) == ("train",)


HUB_DEFAULT = ("owner/name", None, "train")


def test_hub_source(monkeypatch):
    def load_dataset(name, config, split):
        assert (name, config, split) == ("owner/name", "plain", "test")
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(SourceError, match=r"hf://owner/name/plain:test must be fetched from the network"):
        load_source("hf://owner/name/plain:test", modality=TEXTS)
    with pytest.raises(SourceError, match="not of the form hf://owner/name"):
        load_source("hf://name", modality=TEXTS)
    loaded = datasets.Dataset.from_dict({"text": ["a"]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, split: loaded if (*args, split) == HUB_DEFAULT else None)
    assert list(load_source("hf://owner/name", modality=TEXTS)) == [{"text": "a"}]


@pytest.mark.parametrize("name", ["cifar10", "blood_cells", "tiny_imagenet50"])
def test_real_parquet_sets(name, tmp_path):
    base = REAL_DATA
    if not base or not (Path(base) / "vision" / name).is_dir():
        pytest.skip("SELFSUP_DATA names no folder with vision data sets")
    train, test = (load_source(Path(base) / "vision" / name, modality=PHOTOS, split=split) for split in ("train", "test"))
    assert isinstance(train, Rows)
    counts = np.bincount(test.read_by(train.label_reader).labels(), minlength=len(train.class_names))
    assert (counts > 0).all()


@pytest.mark.parametrize(("role", "kind", "suffix"), [("audio", "Audio", ".wav"), ("video", "Video", ".mp4")])
def test_folders_of_other_media(tmp_path, role, kind, suffix):
    modality = ModalitySpec(id=role, summary="Media.", target="a:b", columns={role: kind}, suffixes=(suffix,), backbone="none")
    put(tmp_path / "clips" / "dog" / f"a{suffix}")
    rows = load_source(tmp_path / "clips", modality=modality)
    assert list(rows) == [{role: {"bytes": None, "path": str(tmp_path / "clips" / "dog" / f"a{suffix}")}}]
