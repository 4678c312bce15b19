"""Lists of files: text files with a path a line, and tables with a column of paths."""

from __future__ import annotations

import pandas as pd
import pytest

from selfsup.data import load_source
from selfsup.errors import ColumnError, SourceError
from selfsup.registry.specs import ModalitySpec

PHOTOS = ModalitySpec(
    id="photos", summary="Pictures.", target="a:b", columns={"image": "Image"}, suffixes=(".jpg", ".png"), backbone="none"
)


def paths(rows):
    return [row["image"]["path"] for row in rows]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a.png\n\n# these two\nsub/b c.JPG\n", None),
        ("a.png cat\nsub/b c.JPG dog\n", ["cat", "dog"]),
        ("a.png\tcat\nsub/b c.JPG\tblack dog\n", ["cat", "black dog"]),
        ("a.png,3\r\nsub/b c.JPG,4\r\n", ["3", "4"]),
        ("\ufeff\"a.png\";cat\n'sub/b c.JPG'; dog\n", ["cat", "dog"]),
        ("a.png cat\nsub/b c.JPG\n", None),
    ],
)
def test_list_of_files(tmp_path, text, labels):
    (tmp_path / "list.txt").write_bytes(text.encode())
    rows = load_source(str(tmp_path / "list.txt"), modality=PHOTOS)
    assert paths(rows) == [str(tmp_path / "a.png"), str(tmp_path / "sub" / "b c.JPG")]
    assert rows.label == ("label" if labels else None)
    if labels:
        assert [rows.class_names[i] for i in rows.labels()] == labels
    assert rows.describe(1) == "row 1 (sub/b c.JPG)"


def test_list_without_a_row_and_with_other_encodings(tmp_path):
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(SourceError, match="holds no row: a line is the path of a file, relative to"):
        load_source(str(tmp_path / "list.txt"), modality=PHOTOS)
    (tmp_path / "list.txt").write_text("café.png\n", encoding="utf-16")
    assert paths(load_source(str(tmp_path / "list.txt"), modality=PHOTOS)) == [str(tmp_path / "café.png")]


@pytest.mark.parametrize("column", ["path", "file_name", "photo of it"])
def test_table_with_a_column_of_paths(tmp_path, column):
    table = pd.DataFrame({"note": ["x", "y"], column: ["a.png", "sub/b.jpg"], "label": ["cat", "dog"]})
    table.to_csv(tmp_path / "list.csv", index=False)
    rows = load_source(str(tmp_path / "list.csv"), modality=PHOTOS)
    assert paths(rows) == [str(tmp_path / "a.png"), str(tmp_path / "sub" / "b.jpg")]
    assert rows.class_names == ("cat", "dog")
    assert paths(load_source(table, modality=PHOTOS)) == ["a.png", "sub/b.jpg"]


def test_several_columns_of_paths_and_tables_without_names(tmp_path):
    table = pd.DataFrame({"left": ["a.png"], "right": ["b.png"]})
    with pytest.raises(ColumnError, match=r"several columns of paths \(left, right\). Choose one with --column image=NAME"):
        load_source(table, modality=PHOTOS)
    usual = pd.DataFrame({"path": ["a.png"], "thumbnail": ["b.png"]})
    assert paths(load_source(usual, modality=PHOTOS)) == ["a.png"]
    assert paths(load_source(usual, modality=PHOTOS, columns={"image": "thumbnail"})) == ["b.png"]
    (tmp_path / "list.csv").write_text("a.png,cat\nb.png,dog\nc.png,cat\n")
    with pytest.raises(ColumnError, match=r"The first line .* looks like a row \(a.png\).*--no-header"):
        load_source(str(tmp_path / "list.csv"), modality=PHOTOS)
    rows = load_source(str(tmp_path / "list.csv"), modality=PHOTOS, table={"header": False})
    assert paths(rows) == [str(tmp_path / f"{name}.png") for name in "abc"]
    with pytest.raises(ColumnError, match="no column of type Image"):
        load_source(pd.DataFrame({"text": ["no path", "at all"]}), modality=PHOTOS)
