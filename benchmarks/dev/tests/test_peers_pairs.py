"""CLIP against open_clip's loop, on synthetic pairs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Picture

from peers.pairs import Setting, pairs, pretrain, thinned

KINDS = ("dark", "grey", "light")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 48 training pairs and 12 test pairs; all titles differ."""
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    folder = tmp_path / "pairs"
    folder.mkdir()
    for split, count in (("train", 48), ("test", 12)):
        pictures, titles, kinds = [], [], []
        for number in range(count):
            buffer = io.BytesIO()
            pixels = np.clip(rng.normal(50 + 70 * (number % 3), 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            Picture.fromarray(pixels).save(buffer, format="PNG")
            pictures.append({"bytes": buffer.getvalue(), "path": None})
            titles.append(f"{KINDS[number % 3]} thing {split} {number}")
            kinds.append(number % 3)
        features = Features({"image": Image(), "text": Value("string"), "kind": ClassLabel(names=list(KINDS))})
        rows = Dataset.from_dict({"image": pictures, "text": titles, "kind": kinds}, features=features)
        rows.to_parquet(str(folder / f"{split}.parquet"))
    return folder


def setting(data: Path, steps: int) -> Setting:
    made = Setting(data, device="cpu", steps=steps, batch=16, size=16, labels=("kind",), share=0.25, lr=1e-3)
    made.overrides |= {"backbone.towers.vision.options.width": 8, "backbone.towers.text.options.hidden_size": 16}
    return made


@pytest.mark.slow
def test_without_augmentation_both_sides_learn_the_same(data: Path, tmp_path: Path) -> None:
    """The same first weights, batches, rates and loss: after six steps, over two epochs, both embed alike."""
    from peers.open_clip_side import train_with_open_clip
    from selfsup.data import load_source
    from selfsup.registry import registry

    shared = setting(data, 6)
    shared.overrides["views.augment"] = False
    options = {**shared.options, "precision": "32"}
    ours = pretrain(shared, "multimodal/clip", 3, tmp_path / "ours", precision="32")
    given = {"overrides": shared.overrides, **options}
    theirs = train_with_open_clip(str(data), given, steps=6, seed=3, device="cpu", folder=tmp_path / "theirs")
    first = pretrain(setting(data, 0), "multimodal/clip", 3, tmp_path / "first", precision="32")
    rows = load_source(str(data), modality=registry().get("modality", "multimodal"), split="test").without_labels()
    mine, other, untrained = (torch.from_numpy(encoder.embed(rows)) for encoder in (ours, theirs, first))
    torch.testing.assert_close(mine, other, atol=2e-4, rtol=1e-3)
    assert (mine - untrained).abs().max() > 0.05, "nothing was learned"


@pytest.mark.slow
def test_the_command_compares_by_seed(data: Path, tmp_path: Path) -> None:
    methods = ("clip", "open_clip", "clip-missing-captions")
    options = f"--data {data} --steps 1 --batch 16 --size 16 --seeds 2 --label kind --out {tmp_path / 'scores.json'}"
    done = CliRunner().invoke(pairs, [*options.split(), *(word for name in methods for word in ("--method", name))])
    assert done.exit_code == 0, done.output
    assert "clip - open_clip, paired by seed: R@1" in done.output
    assert "clip-missing-captions - clip, paired by seed" in done.output
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert {name: len(found) for name, found in scores.items()} == dict.fromkeys(methods, 2)
    assert scores["clip"][0] != scores["clip"][1]


def test_captions_or_rows_are_taken_away(data: Path, tmp_path: Path) -> None:
    whole = setting(data, 1)
    without = pq.read_table(Path(thinned(whole, 0, tmp_path / "a", rows=False)) / "train.parquet")
    fewer = pq.read_table(Path(thinned(whole, 0, tmp_path / "b", rows=True)) / "train.parquet")
    assert (len(without), without.column("text").null_count, without.column("image").null_count) == (48, 12, 0)
    kept = [text for text in without.column("text").to_pylist() if text is not None]
    assert fewer.column("text").to_pylist() == kept
    assert (tmp_path / "a" / "test.parquet").read_bytes() == (data / "test.parquet").read_bytes()
    other = pq.read_table(Path(thinned(whole, 1, tmp_path / "c", rows=False)) / "train.parquet")
    assert other.column("text").to_pylist() != without.column("text").to_pylist()
