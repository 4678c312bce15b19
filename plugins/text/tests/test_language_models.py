"""Language models: the network's own vocabulary head, from the checkpoint it came with to the folder that it is exported to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

import selfsup
from selfsup.artifacts import export, load
from selfsup_text.backbones.transformers import TransformersConfig, build_transformers
from selfsup_text.mock import mock_rows
from selfsup_text.processor import TextProcessor, TextProcessorConfig

INFO = {"vocab_size": 60, "max_length": 12, "pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3, "mask_id": 4}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 60}
DECODERS = ("gpt2", "llama")
OWN = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "vocab_size": 60},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "vocab_size": 60},
    "electra": {**SIZES, "embedding_size": 32},
    "llama": {**SIZES, "num_key_value_heads": 1},
    "qwen2": {**SIZES, "num_key_value_heads": 1, "tie_word_embeddings": True},
}


def checkpoint(name: str, folder: Path, **fields: Any) -> Any:
    """A language model of the library with random weights, every one of them, saved in a folder."""
    torch.manual_seed(3)
    special = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    config = AutoConfig.for_model(name, **{**OWN.get(name, SIZES), **special, **fields})
    auto = AutoModelForCausalLM if name in (*DECODERS, "qwen2") else AutoModelForMaskedLM
    model = auto.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "distilbert", "electra", "gpt2", "llama", "qwen2"])
def test_a_pretrained_model_goes_on_with_its_own_head(name: str, tmp_path: Path) -> None:
    plain = checkpoint(name, tmp_path)
    backbone = build_transformers(TransformersConfig(name=name, pretrained=str(tmp_path)), INFO).eval()
    assert backbone.vocabulary_head is None
    assert not backbone.head_is_fresh
    head = backbone.output_head()
    assert backbone.vocabulary_head is not None
    ids = torch.arange(5, 13).unsqueeze(0)
    batch = {"ids": ids, "padding": torch.zeros_like(ids, dtype=torch.bool)}
    framed = torch.cat([torch.tensor([[2]]), ids, torch.tensor([[3]])], dim=1)
    wanted = plain(input_ids=framed).logits[:, 1:-1]
    torch.testing.assert_close(head(backbone.encode(backbone.tokenize(batch))), wanted, atol=1e-5, rtol=1e-5)
    # Tied where the model ties it: one parameter, which the head and the network train together.
    tied = bool(plain.config.tie_word_embeddings)
    output = plain.get_output_embeddings().weight
    assert (output is plain.get_input_embeddings().weight) == tied
    with backbone.vocabulary_head.joined(backbone.model) as whole:
        assert (whole.get_output_embeddings().weight is backbone.word_embeddings.weight) == tied
    # A head of a task's own starts like it and is trained apart, but for what is tied.
    other = backbone.target_head(32)
    hidden = torch.randn(2, 3, 32)
    torch.testing.assert_close(other(hidden), head(hidden))
    shared = {id(p) for p in other.parameters()} & {id(p) for p in backbone.parameters()}
    assert shared == ({id(backbone.word_embeddings.weight)} if tied else set())


def test_a_checkpoint_without_a_head_says_so(tmp_path: Path) -> None:
    checkpoint("bert", tmp_path / "whole").bert.save_pretrained(tmp_path / "bare")
    assert build_transformers(TransformersConfig(name="bert", pretrained=str(tmp_path / "bare")), INFO).head_is_fresh


@pytest.mark.parametrize("words", [64, 58])
def test_a_model_with_more_or_fewer_words_than_its_tokenizer(words: int, tmp_path: Path) -> None:
    plain = checkpoint("gpt2", tmp_path, vocab_size=words)
    config = TransformersConfig(name="gpt2", pretrained=str(tmp_path))
    backbone = build_transformers(config, {**INFO, "begins": False}).eval()
    head = backbone.output_head()
    ids = torch.arange(5, 13).unsqueeze(0)
    states = backbone.encode(backbone.tokenize({"ids": ids, "padding": torch.zeros_like(ids, dtype=torch.bool)}))
    logits = head(states)
    assert logits.shape[-1] == max(words, 60)
    torch.testing.assert_close(logits[..., :words], plain(input_ids=ids).logits, atol=1e-5, rtol=1e-5)
    # What is saved builds the same network again where the folder is not.
    options = {key: value for key, value in config.model_dump(mode="json").items() if key != "pretrained"}
    again = build_transformers(TransformersConfig(**options), {**INFO, "begins": False}).eval()
    again.expect_weights(backbone.state_dict().keys())
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(again.output_head()(states), logits)


def tokenizer(folder: Path, *, begins: bool) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of a decoder: an end of text, and a beginning only if asked for; neither padding nor mask."""
    processor = TextProcessor(TextProcessorConfig(tokenizer="bpe", vocab_size=300, max_length=100)).fit(mock_rows(100, 0))
    inner = processor.vocabulary.tokenizer
    from tokenizers import processors

    inner.post_processor = (
        processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", inner.token_to_id("[CLS]"))])
        if begins
        else processors.ByteLevel(trim_offsets=False)
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="[CLS]", eos_token="[SEP]")
    made.save_pretrained(folder)
    return made


@pytest.mark.parametrize("name", DECODERS)
def test_perplexity_of_a_pretrained_decoder_is_the_librarys(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    words = tokenizer(folder, begins=name == "llama")
    plain = checkpoint(name, folder, vocab_size=320)  # more than the tokenizer has
    texts = [row["text"] for row in mock_rows(12, 1)]
    train, test = written(tmp_path / "train.txt", mock_rows(30, 0)), written(tmp_path / "test.txt", mock_rows(12, 1))
    run = selfsup.pretrain(
        "text/random-init", train, out=tmp_path / "run", progress=False, batch_size=8, backbone=f"transformers/{name}",
        overrides={"backbone.pretrained": str(folder), "processor.tokenizer": str(folder), "processor.max_length": 100},
    )  # fmt: skip
    (record,) = selfsup.evaluate(run.dir, train, test, evaluators=["perplexity"])
    losses, tokens = 0.0, 0
    for text in texts:
        ids = words(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            losses += float(plain(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert record.metrics["tokens"] == tokens
    assert record.metrics["perplexity"] == pytest.approx(math.exp(losses / tokens), rel=1e-4)
    # The head that is fitted on frozen tokens is another one.
    fitted = {"perplexity": {"head": "fitted", "steps": 2}}
    (other,) = selfsup.evaluate(run.dir, train, test, evaluators=["perplexity"], options=fitted)
    assert other.metrics["perplexity"] != pytest.approx(record.metrics["perplexity"], rel=1e-2)


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(row["text"] for row in rows) + "\n")
    return path


@pytest.mark.parametrize(("task", "auto"), [("mlm", AutoModelForMaskedLM), ("clm", AutoModelForCausalLM)])
def test_a_language_model_is_exported_with_its_head(task: str, auto: Any, tmp_path: Path) -> None:
    data = written(tmp_path / "texts.txt", mock_rows(40, 0))
    sizes = {"backbone.hidden_size": 32, "backbone.layers": 1, "processor.max_length": 48, "processor.vocab_size": 200}
    run = selfsup.pretrain(f"text/{task}", data, out=tmp_path / "run", progress=False, steps=3, batch_size=8, overrides=sizes)
    with safe_open(run.dir / "encoder" / "model.safetensors", "pt") as file:
        # What head and network share is stored once, under the network's name.
        assert ("model.embeddings.word_embeddings.weight" if task == "mlm" else "model.wte.weight") in list(file.keys())
    encoder = load(run.dir)
    backbone: Any = encoder.backbone
    assert backbone.vocabulary_head is not None
    folder = export(encoder, "transformers", tmp_path / "exported")
    words, model, bare = (kind.from_pretrained(folder) for kind in (AutoTokenizer, auto, AutoModel))
    assert model.config.architectures == [type(model).__name__]
    text = mock_rows(1, 3)[0]["text"]
    ids = words(text, return_tensors="pt")["input_ids"]
    batch = encoder.processor([{"text": text}])
    with torch.no_grad():
        states = backbone.encode(backbone.tokenize(batch), first=True)
        n = int((~batch["padding"]).sum())
        logits, hidden = (
            model.eval()(input_ids=ids).logits[0, : n + 1],
            bare.eval()(input_ids=ids).last_hidden_state[0, : n + 1],
        )
        torch.testing.assert_close(backbone.vocabulary_head(states)[0, : n + 1], logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(states[0, : n + 1], hidden, atol=1e-5, rtol=1e-5)
    # A decoder goes on behind a text: nothing is put there.
    assert ids.shape[1] == n + (1 if task == "clm" else 2)
    assert encoder.digest() == load(run.dir).digest()


def test_other_tasks_leave_no_vocabulary_head(tmp_path: Path) -> None:
    data = written(tmp_path / "texts.txt", mock_rows(40, 0))
    sizes = {"backbone.hidden_size": 32, "backbone.layers": 1, "processor.max_length": 48, "processor.vocab_size": 200}
    run = selfsup.pretrain("text/tsdae", data, out=tmp_path / "run", progress=False, steps=1, batch_size=8, overrides=sizes)
    with safe_open(run.dir / "encoder" / "model.safetensors", "pt") as file:
        assert not any(key.startswith("vocabulary_head.") for key in list(file.keys()))
    encoder = load(run.dir)
    assert encoder.backbone.vocabulary_head is None
    folder = export(encoder, "transformers", tmp_path / "exported")
    assert AutoModel.from_pretrained(folder).config.architectures == ["BertModel"]
