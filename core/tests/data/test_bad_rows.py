"""Whatever goes wrong while one row is processed makes it a bad row, with its name and reason, and ends no run."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import numpy as np
import pytest

from selfsup.config import Config
from selfsup.data import Processor, Rows, prepare, row_hashes
from selfsup.data.samples import EncodedTable
from selfsup.data.sources.folders import read_media_folder
from selfsup.data.sources.media.files import check_media_file, readable_name
from selfsup.data.store import content_hash
from selfsup.errors import BadRowError, ConfigError, TooManyBadRowsError


class Fragile(Processor):
    """A row is a number; what is raised for some of them is no :class:`BadRowError`."""

    modality = "numbers"
    error: Exception = KeyError("tail")

    def __init__(self) -> None:
        super().__init__(Config())

    def fit(self, rows):
        return self

    def info(self):
        return {}

    def encode(self, row):
        if row["x"] % 10 == 3:
            raise self.error
        return {"x": np.asarray([row["x"]])}

    def save(self, directory):
        (directory / "fragile.json").write_text("{}")

    @classmethod
    def load(cls, directory):
        return cls()


class Together(Fragile):
    """Rows are processed in one go, which fails as a whole."""

    def encode_rows(self, rows):
        return [self.encode(row) for row in rows]


class Table(Fragile):
    """Columns are processed in one go, which fails as a whole."""

    columnar = True

    def encode_table(self, table):
        values = table.column("x").to_numpy()
        if (values % 10 == 3).any():
            raise self.error
        return EncodedTable({"x": values[:, None]}, {})


def numbers(n: int) -> Rows:
    return Rows(dataset=datasets.Dataset.from_dict({"x": range(n)}), columns={"x": "x"}, name="some numbers")


@pytest.mark.parametrize("kind", [Fragile, Together, Table])
def test_any_exception_of_a_row_is_a_bad_row(kind):
    store = prepare(numbers(100), kind(), max_bad_rows=0.1, workers=2)
    assert [index for index, _ in store.bad_rows] == list(range(3, 100, 10))
    assert store.bad_rows[0][1] == "row 3: it cannot be processed (KeyError: 'tail')"
    assert store.read(range(90))["x"].flatten().tolist() == [x for x in range(100) if x % 10 != 3]


def test_a_table_of_which_every_row_fails_is_bad_at_once():
    class Broken(Table):
        calls = 0

        def encode_table(self, table):
            Broken.calls += 1
            raise AttributeError("nothing works")

    with pytest.raises(TooManyBadRowsError, match=r"None of the 5000 rows.*nothing works"):
        prepare(numbers(5000), Broken(), max_bad_rows=1)
    assert Broken.calls < 20


@pytest.mark.parametrize("error", [MemoryError(), ConfigError("a wrong option"), KeyboardInterrupt()])
def test_errors_that_are_not_about_a_row_end_the_run(error, monkeypatch):
    monkeypatch.setattr(Fragile, "error", error)
    with pytest.raises(type(error)):
        prepare(numbers(20), Fragile(), max_bad_rows=1, workers=1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.touch(), r"empty \(0 bytes\)"),
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "device or pipe"),
        (lambda path: path.symlink_to("gone"), "a link to gone, which does not exist"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
    ],
)
def test_what_is_no_file_says_what_it_is(tmp_path, make, reason):
    make(tmp_path / "x.wav")
    with pytest.raises(BadRowError, match=f"the recording .*{reason}"):
        check_media_file(tmp_path / "x.wav", "recording")


def test_devices_are_neither_decoded_nor_hashed():
    with pytest.raises(BadRowError, match="device"):
        check_media_file("/dev/zero", "video")
    features = datasets.Features({"a": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    values = [{"bytes": None, "path": path} for path in ("/dev/zero", "a\0b", "gone")]
    rows = Rows(dataset=datasets.Dataset.from_dict({"a": values}, features), columns={"a": "a"}, media=frozenset("a"))
    assert len(set(row_hashes(rows).tolist())) == 3


def test_links_that_lead_nowhere_are_rows(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "b.wav").symlink_to("gone")
    (tmp_path / "c.wav").mkdir()
    dataset, *_ = read_media_folder(tmp_path, "audio", (".wav",), as_text=False)
    assert [file["path"] for file in dataset["audio"]] == ["a.wav", "b.wav"]


def test_names_that_are_not_utf8_are_read(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / os.fsdecode(b"\xfc.wav")).write_bytes(b"sound")
    dataset, *_ = read_media_folder(tmp_path, "audio", (".wav",), as_text=False)
    assert dataset.features["label"].names == [r"caf\udce9"]
    rows = Rows(dataset=dataset, columns={"audio": "audio"}, root=tmp_path, media=frozenset({"audio"}))
    (row,) = rows
    assert Path(row["audio"]["path"]).read_bytes() == b"sound"
    assert rows.describe(0) == r"row 0 (caf\udce9/\udcfc.wav)"
    assert readable_name("caf\u00e9") == "caf\u00e9"


def test_a_file_of_many_rows_is_hashed_once(tmp_path, monkeypatch):
    (tmp_path / "long.wav").write_bytes(b"sound")
    file = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"a": file, "start": datasets.Value("int64")})
    table = {"a": [{"bytes": None, "path": "long.wav"}] * 5, "start": range(5)}
    rows = Rows(
        dataset=datasets.Dataset.from_dict(table, features),
        columns={"a": "a", "start": "start"},
        media=frozenset("a"),
        root=tmp_path,
    )
    read, digest = [], content_hash._digest
    monkeypatch.setattr(content_hash, "_digest", lambda files: read.append(files) or digest(files))
    assert len(set(row_hashes(rows, workers=1).tolist())) == 5
    assert len(read) == 1
    (tmp_path / "long.wav").write_bytes(b"another")
    row_hashes(rows, workers=1)
    assert len(read) == 2
