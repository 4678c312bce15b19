"""What programs hold their data in, in every modality: pretraining, evaluation and embedding take it, and agree."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image

import selfsup
from selfsup.errors import ConfigError, SourceError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (16, 12, 12, 3)).astype(np.uint8)
WAVES = (RANDOM.standard_normal((16, 4000)) / 8).astype(np.float32)
CLIPS = RANDOM.integers(0, 256, (16, 6, 16, 16, 3)).astype(np.uint8)
TEXTS = [f"{word} number {place}" for place in range(8) for word in ("one", "another")]
TABLE = RANDOM.random((16, 3))
KINDS = [place % 2 for place in range(16)]

SOURCES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "vision": (IMAGES, [Image.fromarray(image) for image in IMAGES], {"backbone.width": 8}),
    "audio": (
        {"audio": WAVES, "sampling_rate": 8000},
        [{"array": wave, "sampling_rate": 8000} for wave in WAVES],
        {"processor.clip_seconds": 0.5},
    ),
    "video": (CLIPS, list(CLIPS.transpose(0, 1, 4, 2, 3)), {"processor.frames": 4, "backbone.width": 8}),
    "text": (iter(TEXTS), TEXTS, {"processor.vocab_size": 300, "backbone.layers": 1}),
    "tabular": (TABLE, pd.DataFrame(TABLE, columns=["x0", "x1", "x2"]), {}),
}
"""Modality to what it is pretrained on, the same rows in another form to embed, and options that make it small."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("modality", SOURCES)
def test_rows_in_memory_are_pretrained_on_and_embedded(modality, tmp_path):
    data, rows, small = SOURCES[modality]
    run = selfsup.pretrain(
        f"{modality}/vicreg", data, out=tmp_path / "run", steps=1, batch_size=8, precision="32", progress=False,
        overrides={"objective.hidden_dim": 16, "objective.output_dim": 16, **small},
    )  # fmt: skip
    embeddings = run.encoder.embed(rows)
    assert embeddings.shape == (16, run.encoder.embed_dim)
    assert np.isfinite(embeddings).all()
    if modality != "text":  # a generator is read once
        written = selfsup.embed(run.encoder, data, tmp_path / "e.npy")
        assert written.rows == 16
        np.testing.assert_allclose(np.load(written.path), embeddings, atol=1e-5)


@pytest.fixture
def encoder(tmp_path):
    run = selfsup.pretrain(
        "vision/vicreg", IMAGES, out=tmp_path / "run", steps=1, batch_size=8, precision="32", progress=False,
        overrides={"objective.hidden_dim": 16, "objective.output_dim": 16, "backbone.width": 8},
    )  # fmt: skip
    return run.encoder


def test_every_form_of_the_same_images_gives_the_same_embeddings(encoder, tmp_path):
    expected = encoder.embed([{"image": image} for image in IMAGES])
    files = []
    for place, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
        files.append(str(tmp_path / f"{place}.png"))
    tensors = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    for rows in (
        IMAGES,
        IMAGES.transpose(0, 3, 1, 2),
        tensors,
        files,
        [Image.fromarray(image) for image in IMAGES],
        list(tensors),
        (image for image in IMAGES),
        torch.utils.data.TensorDataset(tensors, torch.tensor(KINDS)),
        pd.DataFrame({"path": files, "label": KINDS}),
        Dataset.from_dict({"image": [{"bytes": None, "path": file} for file in files]}),
        DatasetDict(train=Dataset.from_dict({"image": [{"bytes": None, "path": file} for file in files]})),
    ):
        np.testing.assert_allclose(encoder.embed(rows), expected, atol=1e-5)


def test_a_single_row_says_how_to_give_it(encoder):
    for row in ("a.png", IMAGES[0], Image.fromarray(IMAGES[0]), {"image": "a.png"}):
        with pytest.raises(SourceError, match=r", not several: (give|put it into a list, )\W*\["):
            encoder.embed(row)
    assert encoder.embed(IMAGES[:0]).shape == encoder.embed([]).shape == (0, encoder.embed_dim)
    with pytest.raises(SourceError, match=r"embedded by selfsup.embed\(encoder, source, out\)"):
        encoder.embed("folder/")
    with pytest.raises(SourceError, match="Item 1: A value of type int is no image: a row's image is a path"):
        encoder.embed([IMAGES[0], 5])


def test_labels_in_memory_are_evaluated(encoder):
    images = np.stack([np.full((12, 12, 3), 200 * kind + place, dtype=np.uint8) for place, kind in enumerate(KINDS)])
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.tensor(KINDS))
    test = {"image": images[:6] + np.uint8(20), "label": KINDS[:6]}
    parts = {"train": {"image": images, "label": KINDS}, "test": test}
    for data, held_out in ((dataset, test), (parts, None)):
        (record,) = selfsup.evaluate(encoder, data, held_out, evaluators=["knn"], options={"knn": {"k": 3}})
        assert record.metrics["accuracy"] == 1.0


def test_rows_for_the_probe_are_named(tmp_path):
    with pytest.raises(ConfigError, match="val is the name or path of a source, not a ndarray: write the rows to a file"):
        selfsup.pretrain("vision/vicreg", IMAGES, val=IMAGES, out=tmp_path / "run", steps=1, progress=False)


def test_embedded_files_and_lists_are_named_by_their_paths(encoder, tmp_path):
    folder = tmp_path / "photos"
    for place, image in enumerate(IMAGES[:5]):
        path = folder / f"class{place % 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "class0" / "bad.png").write_bytes(b"no picture")
    selfsup.embed(encoder, str(folder), tmp_path / "e.csv", max_bad_rows=0.5)
    with (tmp_path / "e.csv").open(newline="") as file:
        lines = [(line["row"], line["path"], line["label"]) for line in csv.DictReader(file)]
    named = ["class0/0.png", "class0/2.png", "class0/4.png", "class1/1.png", "class1/3.png"]
    assert lines == [(row, path, path[:6]) for row, path in zip("01245", named, strict=True)]
    (tmp_path / "list.txt").write_text("photos/class1/3.png\nphotos/class0/0.png\n")
    selfsup.embed(encoder, str(tmp_path / "list.txt"), tmp_path / "l.npy")
    assert (tmp_path / "l.rows.csv").read_text() == "row,path\n0,photos/class1/3.png\n1,photos/class0/0.png\n"
    np.testing.assert_allclose(np.load(tmp_path / "l.npy"), encoder.embed(IMAGES[[3, 0]]), atol=1e-5)
