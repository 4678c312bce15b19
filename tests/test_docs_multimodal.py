"""The commands and the code of the page of several modalities do what they say, in its order, on pairs made for the test."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Picture

PAGE = Path(__file__).parents[1] / "docs" / "modalities" / "multimodal.md"
BUDGET = ["--steps", "2", "--batch-size", "16", "--set", "processor.options.vision.image_size=32"]
"""Added to every training: the page's own are of many epochs."""


def sections(*titles: str) -> str:
    """The text of the page's sections, in its order."""
    found = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    chosen = {title: text for title, text in zip(found[::2], found[1::2], strict=True) if title in titles}
    assert set(chosen) == set(titles)
    return "\n".join(chosen.values())


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [block for own, block in found if own == language]


@pytest.fixture
def pairs(tmp_path):
    """``pairs.parquet``, ``one.png`` and ``two.png`` of the page: 96 small pictures with captions and a category."""
    rng = np.random.default_rng(0)
    names = ("bag", "shirt", "shoe")
    columns = {"image": [], "caption": [], "category": []}
    for number in range(96):
        kind = number % 3
        pixels = np.clip(rng.normal(50 + 60 * kind, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Picture.fromarray(pixels).save(buffer, format="PNG")
        if number < 2:
            (tmp_path / f"{('one', 'two')[number]}.png").write_bytes(buffer.getvalue())
        columns["image"].append({"bytes": buffer.getvalue(), "path": None})
        columns["caption"].append(
            None if number % 10 == 9 else f"a {rng.choice(['red', 'blue', 'old'])} {names[kind]} {number}"
        )
        columns["category"].append(kind)
    features = Features({"image": Image(), "caption": Value("string"), "category": ClassLabel(names=list(names))})
    Dataset.from_dict(columns, features=features).to_parquet(str(tmp_path / "pairs.parquet"))


@pytest.fixture
def others(pairs, tmp_path):
    """The other files that the page names: ``pairs.csv``, ``views.parquet``, ``products.parquet`` and a small BERT."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    rows = Dataset.from_parquet(str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path / "datasets")).to_list()
    table = ["photo,title"]
    (tmp_path / "photos").mkdir()
    for number, row in enumerate(rows):
        (tmp_path / "photos" / f"{number}.png").write_bytes(row["image"]["bytes"])
        table.append(f"photos/{number}.png,{row['caption'] or ''}")
    (tmp_path / "pairs.csv").write_text("\n".join(table) + "\n")
    pictures = [row["image"] for row in rows]
    both = {"front": pictures, "back": pictures[::-1]}
    Dataset.from_dict(both, features=Features({"front": Image(), "back": Image()})).to_parquet(str(tmp_path / "views.parquet"))
    prices = {"image": pictures, "price": [float(row["category"]) for row in rows], "shop": ["a", "b", "c"] * 32}
    kinds = Features({"image": Image(), "price": Value("float64"), "shop": Value("string")})
    Dataset.from_dict(prices, features=kinds).to_parquet(str(tmp_path / "products.parquet"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "old", "bag", "shirt", "shoe"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **size)).save_pretrained(tmp_path / "bert")


@pytest.mark.slow
@pytest.mark.usefixtures("others")
def test_commands_on_other_rows_and_networks(cli):
    photos = cli(
        "pretrain", "vision/simclr", "--data", "photos", "--out", "runs/photos", "--steps", "1", "--batch-size", "8",
        "--backbone", "resnet-narrow",
    )  # fmt: skip
    assert photos.status == 0, photos.err
    text = sections("What it reads", "Backbones")
    commands = [line for block in blocks(text, "console") for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) >= 8
    for command in commands:
        words = shlex.split(command)[1:]
        assert words[0] == "pretrain"
        outcome = cli(*words, "--steps", "1", "--batch-size", "8")
        assert outcome.status == 0, f"{command}: {outcome.err}"


@pytest.mark.slow
@pytest.mark.usefixtures("pairs")
def test_commands(cli, monkeypatch, tmp_path):
    text = sections("Two examples", "One part of an encoder", "Evaluators", "Export")
    lines = [line for block in blocks(text, "console") for line in block.replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if line.startswith("selfsup")]
    assert len(commands) >= 8
    for command in commands:
        words = shlex.split(command)[1:]
        outcome = cli(*words, *(BUDGET if words[0] == "pretrain" else []))
        assert outcome.status == 0, f"{command}: {outcome.err}"
        if words[0] == "pretrain":
            assert outcome.out.splitlines()[-1].endswith("--data SRC --evaluators cross-modal-retrieval")
        assert "were pretrained on" not in " ".join(outcome.err.split()), f"{command} tests on rows that were pretrained on"
    for left in ("texts.parquet", "pictures/model.safetensors", "dual/model.safetensors", "dual/preprocessor_config.json"):
        assert Path(left).is_file(), left
    wrong = cli(
        "evaluate", "runs/pairs", "--data", "pairs.parquet", "--evaluators", "cross-modal-retrieval", "--part", "vision"
    )
    assert wrong.status != 0
    assert "Leave --part out, to measure all parts" in " ".join(wrong.err.split())
    names: dict[str, object] = {}
    for code in blocks(sections("Two examples", "Export"), "python"):
        exec(code, names)
    assert np.shape(names["cosines"]) == (2,)
    assert np.abs(names["cosines"]).max() <= 1.001
    assert "texts" in names
