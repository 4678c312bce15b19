"""Sources of pairs, from the folder or object to the rows: what is found, what is counted, and what ends with an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from selfsup.cli.main import main
from selfsup.data import Rows, available_splits, load_source, prepare
from selfsup.errors import ColumnError, ConfigError, DataError, SelfsupError, SourceError
from selfsup.registry import registry
from selfsup_multimodal.config import MultimodalProcessorConfig
from selfsup_multimodal.processor import MultimodalProcessor

pytest.importorskip("selfsup_vision", reason="pairs of pictures and texts")
pytest.importorskip("selfsup_text", reason="pairs of pictures and texts")
Image = pytest.importorskip("PIL.Image", reason="writes pictures")
CAPTIONS = ["a red thing", "a green thing", "a blue thing", "", "a grey thing", "an old thing"]


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


def load(source: Any, **options: Any) -> Rows:
    return load_source(source, modality=registry().get("modality", "multimodal"), **options)


def pictures(folder: Path, names: list[str]) -> Path:
    generator = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / name)
    return folder


NAMES = [f"{place}.png" for place in range(6)]


def captions_of(rows: Rows) -> list[Any]:
    return [row["text/text"] for row in rows]


def check(rows: Rows, tmp_path: Path, *, bad: int = 0) -> MultimodalProcessor:
    """Fit and process rows; so many of them are bad."""
    processor = MultimodalProcessor().fit(rows.without_labels())
    store = prepare(rows.without_labels(), processor, cache_dir=tmp_path / "store", max_bad_rows=0.5)
    assert len(store) == len(rows) - bad
    assert len(store.bad_rows) == bad
    return processor


def test_a_table_names_the_files_beside_it(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [f"images/{name}" for name in (*NAMES[1:], "other.png")])
    lines = [f"{name},{caption}" for name, caption in zip(NAMES, CAPTIONS, strict=True)]
    (folder / "captions.csv").write_text("file_name,caption\n" + "\n".join(lines))
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    rows = load(folder)
    assert rows.columns == {"vision/image": "file_name", "text/text": "caption"}
    assert rows.root == folder / "images"
    assert captions_of(rows)[0] == "a red thing"
    assert rows.findings.warnings == [
        f"1 of the 6 files below {folder / 'images'} are in no row of the table and are left out: other.png."
    ]
    processor = MultimodalProcessor().fit(rows)
    store = prepare(rows, processor, cache_dir=tmp_path / "store", max_bad_rows=0.5)
    ((place, reason),) = store.bad_rows
    assert place == 0
    assert "vision: the image cannot be opened: there is no such file" in reason
    assert processor.findings().facts["text"] == "1 of 6 rows lack it (16.7 %)"
    told = load(folder / "captions.csv", options={"folder": str(folder / "images")})
    assert told.root == folder / "images"
    with pytest.raises(ConfigError, match="is no folder"):
        load(folder / "captions.csv", options={"folder": "nowhere"})


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_tables_with_contents_or_paths_and_splits(kind: str, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", NAMES)
    for split, places in (("train", range(4)), ("test", range(4, 6))):
        if kind == "jsonl":
            lines = [json.dumps({"picture": f"{place}.png", "title": CAPTIONS[place]}) for place in places]
            (folder / f"{split}.jsonl").write_text("\n".join(lines))
        else:
            values = [{"bytes": (folder / NAMES[place]).read_bytes(), "path": None} for place in places]
            table = {"picture": values, "title": [CAPTIONS[place] for place in places]}
            datasets.Dataset.from_dict(table).to_parquet(folder / f"{split}.parquet")
    assert available_splits(folder, modality=registry().get("modality", "multimodal")) == ("train", "test")
    rows = load(folder)
    assert rows.columns == {"vision/image": "picture", "text/text": "title"}
    assert captions_of(rows) == CAPTIONS[:4]
    assert captions_of(load(folder, split="test")) == CAPTIONS[4:]
    check(rows, tmp_path)


def test_captions_beside_files(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", NAMES)
    for name, caption in zip(NAMES[1:], CAPTIONS[1:], strict=True):
        (folder / name).with_suffix(".txt").write_text(caption)
    rows = load(folder)
    assert captions_of(rows) == [None, *CAPTIONS[1:]]
    assert rows.findings.facts["captions"] == "1 of 6 rows have no text beside them"
    processor = check(rows, tmp_path)
    assert processor.findings().facts["text"] == "2 of 6 rows lack it (33.3 %)"
    for file in folder.glob("*.txt"):
        file.write_text(" \n")
    with pytest.raises(DataError, match=r"None of the 6 rows of .* has the part 'text'"):
        check(load(folder), tmp_path)
    for file in folder.glob("*.txt"):
        file.unlink()
    with pytest.raises(ColumnError, match=r"fewer than two parts; found: vision \('image'\)"):
        load(folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match=r"a.jpg and a.txt.* It is empty"):
        load(tmp_path / "none")


def test_annotations_of_coco_beside_their_images(tmp_path: Path) -> None:
    root = pictures(tmp_path / "coco", [f"{part}2017/{part}{name}" for part in ("train", "val") for name in NAMES])
    (root / "annotations").mkdir()
    pairs = [(place, f"{caption} {n}") for place, caption in enumerate(CAPTIONS) for n in range(place % 3)]
    notes = [{"image_id": place, "caption": caption} for place, caption in pairs]
    for part in ("train", "val"):
        images = [{"id": place, "file_name": part + name} for place, name in enumerate(NAMES)]
        content = json.dumps({"images": images, "annotations": notes})
        (root / "annotations" / f"captions_{part}2017.json").write_text(content)
        (root / "annotations" / f"instances_{part}2017.json").write_text("{}")
    rows = load(root)
    assert captions_of(rows)[2] == ["a blue thing 0", "a blue thing 1"]
    assert rows.root == root / "train2017"
    held = load(root, split="validation")
    assert held.root == root / "val2017"
    assert check(rows, tmp_path).findings().facts["text"].startswith("2 of 6 rows lack it")
    alone = load(root / "annotations" / "captions_val2017.json")
    assert alone.root == root / "val2017"


def test_objects_of_a_program(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (6, 12, 12, 3), dtype=np.uint8)
    pil = [Image.fromarray(item) for item in array]
    features = datasets.Features({"photo": datasets.Image(), "caption": datasets.Value("string")})
    sources: list[Any] = [
        {"photo": pil, "caption": CAPTIONS},
        {"photo": array, "caption": CAPTIONS},
        [{"photo": item, "caption": caption} for item, caption in zip(pil, CAPTIONS, strict=True)],
        list(zip(pil, CAPTIONS, strict=True)),
        datasets.Dataset.from_dict({"photo": pil, "caption": CAPTIONS}, features=features),
    ]
    batches = []
    for source in sources:
        rows = load(source)
        assert set(rows.columns) == {"vision/image", "text/text"}
        assert captions_of(rows) == CAPTIONS
        batches.append(check(rows, tmp_path)(list(rows)))
    assert all(np.array_equal(batch["vision/image"], batches[0]["vision/image"]) for batch in batches)
    assert batches[0]["text/present"].tolist() == [True, True, True, False, True, True]
    with pytest.raises(SourceError, match="several lengths: photo 6, caption 5"):
        load({"photo": pil, "caption": CAPTIONS[:5]})
    sound = [{"array": np.zeros(800, dtype=np.float32), "sampling_rate": 8000}] * 6
    features = load({"picture": pil, "sound": sound, "text": CAPTIONS}, options={"parts": ["vision", "text"]}).dataset.features
    assert type(features["sound"]).__name__ == "Audio"


@pytest.mark.parametrize(("place", "hint"), [("gone/", ""), ("set\\", "Write '/' between folders instead of")])
def test_pictures_that_are_all_missing_are_named_with_the_switch(tmp_path: Path, place: str, hint: str) -> None:
    pictures(tmp_path / "set", NAMES)
    lines = [f"{place}{name},{caption}" for name, caption in zip(NAMES, CAPTIONS, strict=True)]
    (tmp_path / "pairs.csv").write_text("photo,caption\n" + "\n".join(lines))
    for options in ({}, {"vision": {"image_size": 12, "channels": 3}}):
        processor = MultimodalProcessor(MultimodalProcessorConfig(options=options))
        with pytest.raises(SelfsupError, match=r"None of the 6 files .* such as .*0\.png.*processor\.folder=") as told:
            processor.fit(load(tmp_path / "pairs.csv"))
        assert hint in str(told.value)


def run(*arguments: str) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_the_commands_take_parts_and_options_of_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "set", NAMES)
    lines = [f"{name},{caption},{place}" for place, (name, caption) in enumerate(zip(NAMES, CAPTIONS, strict=True))]
    (folder / "metadata.csv").write_text("file_name,caption,price\n" + "\n".join(lines))
    settings = ["--set", "parts=[vision,text]", "--set", "processor.options.vision.image_size=8"]
    assert run("inspect", str(folder), "--modality", "multimodal", "--json", *settings) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"]["vision/image"].endswith("3, 9, 9]")
    assert found["facts"]["text"] == "1 of 6 rows lack it (16.7 %)"
    assert {column["name"]: column["used_as"] for column in found["columns"]} == {
        "file_name": "vision/image", "caption": "text/text", "price": "not used",
    }  # fmt: skip
    assert run("inspect", str(folder), "--modality", "multimodal", "--set", "processor.options.vision.sise=8") == 2
    assert "no option 'sise'" in capsys.readouterr().err
    assert run("inspect", str(folder), "--modality", "multimodal", "--parts", "vision,text", "--column", "text=price") == 1
    assert "text/text needs string" in " ".join(capsys.readouterr().err.split())
