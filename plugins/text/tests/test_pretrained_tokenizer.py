"""A pretrained model's own tokenizer comes along; another one must be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

import selfsup
from selfsup.errors import ConfigError, UsageError
from selfsup.training.run.resolve import resolve_config
from selfsup_text.mock import mock_rows
from selfsup_text.processor import TextProcessor, TextProcessorConfig
from selfsup_text.tokenization import load_vocabulary

TEXTS = [str(row["text"]) for row in mock_rows(40, 0)]
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """A text a line; a tokenizer that is trained on it would have other words than the models below."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXTS[:30]) + "\n")
    return str(path)


def model(folder: Path, *, tokenizer: bool, positions: int = 40, kind: str = "bert") -> str:
    """A folder of a masked language model, with its tokenizer or without."""
    torch.manual_seed(0)
    processor = TextProcessor(TextProcessorConfig(vocab_size=120)).fit({"text": text} for text in TEXTS[30:])
    pad = {"pad_token_id": 1} if kind == "roberta" else {}
    config, whole = (RobertaConfig, RobertaForMaskedLM) if kind == "roberta" else (BertConfig, BertForMaskedLM)
    words = int(processor.info()["vocab_size"])
    whole(config(**SIZES, **pad, vocab_size=words, max_position_embeddings=positions)).save_pretrained(folder)
    if tokenizer:
        processor.pretrained_tokenizer().save_pretrained(folder)
    return str(folder)


def pretrain(corpus: str, out: Path, **options: Any) -> selfsup.Run:
    """The model as it is, behind a processor."""
    overrides = {f"{'backbone' if key == 'pretrained' else 'processor'}.{key}": value for key, value in options.items()}
    return selfsup.pretrain(
        "text/random-init", corpus, out=out, backbone="transformers/bert", batch_size=8, overrides=overrides
    )


def test_its_own_tokenizer_comes_along_and_is_shown(corpus: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = model(tmp_path / "model", tokenizer=True)
    run = pretrain(corpus, tmp_path / "run", pretrained=source)
    own = AutoTokenizer.from_pretrained(source)
    assert run.config.processor_options["tokenizer"] == source
    assert run.config.processor_options["max_length"] == 37  # and not the 128 that it has no positions for
    processor: Any = run.encoder.processor
    for text in TEXTS:
        ids = processor([{"text": text}])["ids"][0][:37].tolist()
        assert [id for id in ids if id] == own(text, add_special_tokens=False)["input_ids"][:37]
    plain = BertForMaskedLM.from_pretrained(source)
    backbone: Any = run.encoder.backbone
    assert torch.equal(backbone.word_embeddings.weight, plain.get_input_embeddings().weight)
    shown = " ".join(capfd.readouterr().err.split())
    assert f"With the pretrained weights come processor.tokenizer={source}, processor.max_length=37." in shown


def test_a_model_without_a_tokenizer_says_what_to_do(corpus: str, tmp_path: Path) -> None:
    source = model(tmp_path / "model", tokenizer=False)
    with pytest.raises(ConfigError, match=r"holds a model but no tokenizer.*--set processor\.tokenizer=FOLDER.*wordpiece"):
        pretrain(corpus, tmp_path / "run", pretrained=source)
    # Its own one from elsewhere is taken at its word.
    other = model(tmp_path / "other", tokenizer=True)
    run = pretrain(corpus, tmp_path / "run2", pretrained=source, tokenizer=other)
    backbone: Any = run.encoder.backbone
    assert torch.equal(backbone.word_embeddings.weight, BertForMaskedLM.from_pretrained(source).get_input_embeddings().weight)


@pytest.mark.parametrize("tokenizer", [True, False])
def test_another_tokenizer_is_asked_for_and_has_new_words(
    corpus: str, tmp_path: Path, tokenizer: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    source = model(tmp_path / "model", tokenizer=tokenizer)
    run = pretrain(corpus, tmp_path / "run", pretrained=source, tokenizer="bpe")
    backbone: Any = run.encoder.backbone
    old = BertForMaskedLM.from_pretrained(source).get_input_embeddings().weight
    new = backbone.word_embeddings.weight
    assert not any(torch.equal(row, before) for row, before in zip(new[1:], old[1:], strict=False))
    assert float(new.detach().std()) == pytest.approx(float(old.detach().std()), rel=0.2)
    shown = " ".join(capfd.readouterr().err.split())
    assert f"processor.tokenizer=bpe (theirs: {source})" in shown
    assert f"fresh vectors for all {len(new)} words of another tokenizer" in shown
    assert "multivariate" not in shown  # the library's advice


def test_words_cannot_be_new_where_positions_count_from_the_padding(corpus: str, tmp_path: Path) -> None:
    source = model(tmp_path / "model", tokenizer=False, kind="roberta")
    overrides = {"backbone.pretrained": source, "processor.tokenizer": "wordpiece"}
    options: dict[str, Any] = {"backbone": "transformers/roberta", "batch_size": 8, "overrides": overrides}
    with pytest.raises(ConfigError, match="padding at the id 1, but the given tokenizer at 0"):
        selfsup.pretrain("text/random-init", corpus, out=tmp_path / "run", **options)


def test_another_number_of_words_is_refused(corpus: str, tmp_path: Path) -> None:
    source = model(tmp_path / "model", tokenizer=False)
    wide = TextProcessor(TextProcessorConfig(tokenizer="bpe", vocab_size=400)).fit({"text": text} for text in TEXTS)
    wide.pretrained_tokenizer().save_pretrained(tmp_path / "wide")
    with pytest.raises(ConfigError, match="120 words and no tokenizer of its own"):
        pretrain(corpus, tmp_path / "run", pretrained=source, tokenizer=str(tmp_path / "wide"))


def test_what_is_set_goes_before_what_comes_along(corpus: str, tmp_path: Path) -> None:
    source = model(tmp_path / "model", tokenizer=True)
    options = {"task": "text/mlm", "data": corpus, "backbone": "transformers/bert", "backbone.pretrained": source}
    config = resolve_config(options)
    assert (config.processor_options["tokenizer"], config.processor_options["packing"]) == (source, "blocks")
    asked = resolve_config({**options, "processor.tokenizer": "wordpiece", "processor.max_length": 9})
    assert (asked.processor_options["tokenizer"], asked.processor_options["max_length"]) == ("wordpiece", 9)
    again = resolve_config({}, asked.model_dump(mode="json"))  # the same run from its run.json
    assert again.processor_options == asked.processor_options
    fresh = resolve_config({"task": "text/mlm", "data": corpus, "backbone": "transformers/bert"})
    assert fresh.processor_options["tokenizer"] == "wordpiece"


def test_a_folder_of_selfsup_says_how_to_export_it(corpus: str, tmp_path: Path) -> None:
    run = selfsup.pretrain(
        "text/random-init", corpus, out=tmp_path / "run", batch_size=8, overrides={"processor.vocab_size": 64}
    )
    for folder in (run.dir, run.dir / "encoder"):
        with pytest.raises(ConfigError, match=r"is a folder of selfsup.*selfsup export .* --format transformers"):
            pretrain(corpus, tmp_path / "other", pretrained=str(folder))


def test_a_run_and_its_path_are_as_good_as_its_encoder(corpus: str, tmp_path: Path) -> None:
    small = {"processor.vocab_size": 64}
    run = selfsup.pretrain("text/random-init", corpus, out=tmp_path / "run", batch_size=8, overrides=small)
    table = tmp_path / "labelled.csv"
    table.write_text("text,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(TEXTS)))
    scores = []
    for source in (run.encoder, run, run.dir, str(run.dir), str(run.dir / "encoder")):
        assert selfsup.load(source).digest() == run.encoder.digest()
        (record,) = selfsup.evaluate(source, str(table), evaluators="knn")  # an id as well as a list of them
        scores.append(record.metrics["accuracy"])
    assert len(set(scores)) == 1
    assert selfsup.export(run, "safetensors", tmp_path / "copy").is_dir()
    with pytest.raises(UsageError, match=r"the path of one .* and not a int"):
        selfsup.embed(3, str(table), tmp_path / "out.npy")  # type: ignore[arg-type]


def test_a_digest_tells_vocabularies_apart(tmp_path: Path) -> None:
    source = model(tmp_path / "model", tokenizer=True)
    one, two = load_vocabulary(source), load_vocabulary(source, add_special=True)
    assert one.digest() == two.digest()
    other = TextProcessor(TextProcessorConfig(vocab_size=90)).fit({"text": text} for text in TEXTS)
    assert other.info()["vocabulary"] != one.digest()
