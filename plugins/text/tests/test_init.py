"""Texts that start from encoders and from models of the transformers library."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.artifacts.initial_weights import initial_weights, load_into
from selfsup.errors import ArtifactError, ConfigError
from selfsup.registry import registry
from selfsup_text.mock import mock_rows
from selfsup_text.processor import TextProcessor, TextProcessorConfig

TEXTS = [str(row["text"]) for row in mock_rows(200, 0)]
OPTIONS: dict[str, Any] = {"batch_size": 8, "precision": "32", "progress": False}
TINY = {"backbone.hidden_size": 32, "backbone.layers": 1}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT that has learned a little of such texts, as the transformers library leaves it."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    processor = TextProcessor(TextProcessorConfig(vocab_size=120)).fit({"text": text} for text in TEXTS[:100])
    words = int(processor.info()["vocab_size"])
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForMaskedLM(BertConfig(**sizes, vocab_size=words, max_position_embeddings=40)).train()
    tokenizer = processor.pretrained_tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        texts = [TEXTS[(step * 16 + place) % 100] for place in range(16)]
        batch = tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
        real = batch["attention_mask"].bool()
        hidden = (torch.rand(real.shape, generator=generator) < 0.15) & real
        ids = batch["input_ids"].masked_fill(hidden, processor.info()["mask_id"])
        loss = model(ids, attention_mask=real, labels=batch["input_ids"].masked_fill(~hidden, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def first_loss(run: selfsup.Run) -> float:
    return float(next(line["loss"] for line in run.metrics if "loss" in line))


def test_one_command_goes_on_with_a_bert(corpus: str, bert: str, tmp_path: Path) -> None:
    options = {**OPTIONS, "steps": 1, "log_every": 1}
    run = selfsup.pretrain("text/mlm", corpus, out=tmp_path / "run", init=bert, **options)
    assert run.config.backbone == "transformers/bert"
    assert run.config.processor_options["tokenizer"] == bert
    assert run.config.processor_options["max_length"] == 37  # it has no positions for more
    fresh = selfsup.pretrain(
        "text/mlm", corpus, out=tmp_path / "fresh", backbone="transformers/bert", **options,
        overrides={"processor.tokenizer": bert, "processor.max_length": 37, **TINY, "backbone.heads": 2},
    )  # fmt: skip
    assert first_loss(run) < 0.8 * first_loss(fresh)  # its vocabulary head came along
    told = RunDirectory(run.dir).info()["init"]
    assert (told["source"], told["backbone"]) == (bert, "transformers/bert")


def test_options_of_a_file_do_not_keep_the_weights_away(corpus: str, bert: str, tmp_path: Path) -> None:
    sizes = {**TINY, "backbone.heads": 2, "processor.tokenizer": bert, "processor.max_length": 38}
    options: dict[str, Any] = {**OPTIONS, "steps": 0}
    fresh = selfsup.pretrain(
        "text/mlm", corpus, out=tmp_path / "fresh", backbone="transformers/bert", overrides=sizes, **options
    )
    words = "model.embeddings.word_embeddings.weight"
    theirs = BertForMaskedLM.from_pretrained(bert).state_dict()["bert.embeddings.word_embeddings.weight"]
    assert not torch.equal(fresh.encoder.backbone.state_dict()[words], theirs)
    run = selfsup.pretrain(config=fresh.dir / "run.json", out=tmp_path / "run", init=bert, progress=False)
    assert run.config.backbone_options["pretrained"] is None
    assert torch.equal(run.encoder.backbone.state_dict()[words], theirs)
    assert RunDirectory(run.dir).info()["init"]["share"] < 1  # the layers between are of another width
    # And another source takes the place of the first one's.
    first = selfsup.pretrain("text/mlm", corpus, out=tmp_path / "first", init=bert, **options)
    other = selfsup.pretrain(config=first.dir / "run.json", out=tmp_path / "other", init=fresh.dir, progress=False)
    assert other.config.backbone_options["pretrained"] is None
    own, taken = other.encoder.backbone.state_dict(), fresh.encoder.backbone.state_dict()
    assert torch.equal(own[words], taken[words])
    narrow = "model.encoder.layer.0.intermediate.dense.weight"
    assert not torch.equal(own[narrow], first.encoder.backbone.state_dict()[narrow])  # drawn, as the run says


def test_no_step_leaves_the_whole_model(corpus: str, bert: str, tmp_path: Path) -> None:
    run = selfsup.pretrain("text/mlm", corpus, out=tmp_path / "run", init=bert, steps=0, **OPTIONS)
    model = BertForMaskedLM.from_pretrained(bert).eval()
    backbone: Any = run.encoder.backbone
    for name, value in model.bert.state_dict().items():
        assert torch.equal(backbone.model.state_dict()[name], value), name
    hidden = torch.randn(2, 5, 32)
    head = backbone.vocabulary_head
    assert head is not None
    assert torch.allclose(head(hidden), model.cls(hidden), atol=1e-6)


def test_an_encoder_keeps_its_words_and_its_head(corpus: str, tmp_path: Path) -> None:
    former = selfsup.pretrain("text/mlm", corpus, out=tmp_path / "former", steps=2, overrides=TINY, **OPTIONS)
    other = tmp_path / "other.txt"
    other.write_text("\n".join(f"{text} {text[::-1]}" for text in TEXTS[:60]))
    run = selfsup.pretrain("text/mlm", str(other), out=tmp_path / "run", init=former, steps=0, **OPTIONS)
    assert run.encoder.digest() == former.encoder.digest()
    theirs, ours = former.encoder.backbone.state_dict(), run.encoder.backbone.state_dict()
    assert any(name.startswith("vocabulary_head.") for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # A task without use for the head trains and keeps none.
    contrast = selfsup.pretrain("text/simcse", str(other), out=tmp_path / "contrast", init=former, steps=1, **OPTIONS)
    assert not any(name.startswith("vocabulary_head.") for name in contrast.encoder.backbone.state_dict())


def test_longer_texts_have_positions_in_between(corpus: str, tmp_path: Path) -> None:
    former = selfsup.pretrain(
        "text/simcse", corpus, out=tmp_path / "former", steps=0, overrides={**TINY, "processor.max_length": 8}, **OPTIONS
    )
    run = selfsup.pretrain(
        "text/simcse", corpus, out=tmp_path / "run", init=former, steps=0, overrides={"processor.max_length": 16}, **OPTIONS
    )
    name = "model.embeddings.position_embeddings.weight"
    theirs, ours = (each.encoder.backbone.state_dict()[name] for each in (former, run))
    assert len(ours) == len(theirs) + 8
    assert torch.equal(ours[[0, -1]], theirs[[0, -1]])
    assert 0.5 < float(ours[1:-1].std() / theirs.std()) < 1


def test_ids_of_another_tokenizer_are_refused(corpus: str, bert: str, tmp_path: Path) -> None:
    former = selfsup.pretrain("text/simcse", corpus, out=tmp_path / "former", steps=0, overrides=TINY, **OPTIONS)
    found = initial_weights(former.dir, "text")
    other = TextProcessor(TextProcessorConfig(vocab_size=90)).fit({"text": text} for text in TEXTS).info()
    backbone, _ = registry().build_backbone("text-encoder-small", {"hidden_size": 32, "layers": 1}, other)
    with pytest.raises(ConfigError, match=r"was trained with another tokenizer \(.* entries\) than these texts"):
        load_into(backbone, found, other)
    options = {**OPTIONS, "init": former, "steps": 1}
    overrides = {"objective.teacher": bert, "processor.max_length": 30}
    with pytest.raises(ConfigError, match=r"cannot teach here: it would have fresh vectors for all .* words of another"):
        selfsup.pretrain("text/distill", corpus, out=tmp_path / "run", overrides=overrides, **options)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_bert_teaches_a_smaller_network(corpus: str, bert: str, tmp_path: Path) -> None:
    run = selfsup.pretrain(
        "text/distill", corpus, out=tmp_path / "run", steps=2, backbone="text-encoder-small", **OPTIONS,
        overrides={"objective.teacher": bert, "backbone.hidden_size": 16, "backbone.layers": 1},
    )  # fmt: skip
    assert run.encoder.embed_dim == 16
    assert run.config.processor_options["tokenizer"] == bert
    assert run.encoder.metadata["taught_by"] == bert


def test_a_bert_goes_on_where_its_folder_is_gone(corpus: str, bert: str, tmp_path: Path) -> None:
    source = tmp_path / "bert"
    shutil.copytree(bert, source)
    run = selfsup.pretrain("text/simcse", corpus, out=tmp_path / "run", init=str(source), steps=2, val=None, **OPTIONS)
    shutil.rmtree(source)
    info = RunDirectory(run.dir).info()
    RunDirectory(run.dir).update(status="running")
    shutil.rmtree(run.dir / "encoder")
    again = selfsup.pretrain(out=run.dir, resume=True, progress=False)
    assert again.encoder.backbone_options == info["config"]["backbone_options"]
    assert again.encoder.embed(TEXTS[:2]).shape == (2, 32)


def test_a_damaged_folder(corpus: str, bert: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"config\.json cannot be read"):
        selfsup.pretrain("text/mlm", corpus, out=tmp_path / "run", init=str(tmp_path), **OPTIONS)
    with pytest.raises(ConfigError, match="both say what to start from"):
        selfsup.pretrain(
            "text/mlm", corpus, out=tmp_path / "run", init=bert, overrides={"backbone.pretrained": bert}, **OPTIONS
        )
