from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from tokenizers import pre_tokenizers

from selfsup.artifacts import Encoder
from selfsup.data import Rows, prepare
from selfsup.errors import ColumnError, ConfigError, DataError
from selfsup.evaluation import Split
from selfsup_text.evaluators.entities import entities, entity_f1, is_bio
from selfsup_text.evaluators.tagged_words import Sentence, word_vectors
from selfsup_text.evaluators.token_classification import TokenClassification, TokenClassificationConfig
from selfsup_text.mock import mock_rows
from selfsup_text.processor import TextProcessor, TextProcessorConfig

NOUNS = {"cat", "dog", "horse", "bird", "fish", "engine", "wheel", "brake", "pump", "valve"}


def tagged(n: int, seed: int) -> dict[str, list[Any]]:
    texts = [row["text"] for row in mock_rows(n, seed)]
    return {"text": texts, "tags": [["B-NOUN" if word in NOUNS else "O" for word in text.split()] for text in texts]}


def test_a_probe_learns_which_words_are_nouns(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    made = TokenClassification(TokenClassificationConfig()).evaluate(
        text_encoder, split_of(**tagged(60, 0)), split_of(**tagged(20, 1)), seed=0
    )
    assert made["accuracy"] > 0.98
    assert made["entity_f1"] > 0.95
    assert next(iter(made)) == "accuracy"


def test_words_keep_their_own_tokens(text_encoder: Encoder) -> None:
    words = ("the", "horse", "sleepsunknownword", "in", "☃☃☃")
    sentences = [Sentence(words, tuple("abcde")), Sentence(("cat",), ("f",))]
    first = word_vectors(text_encoder, sentences, pooling="first")
    assert first.tags == ["f", *"abcde"]
    assert first.ends == [1, 6]
    processor = text_encoder.processor
    pieces = [processor.encode({"text": word})["ids"].tolist() for word in words[:4]]
    batch = processor([{"text": " ".join(words[:4])}])
    assert batch["ids"][0, : sum(map(len, pieces))].tolist() == [id for piece in pieces for id in piece]
    assert len(pieces[2]) > 1
    mean = word_vectors(text_encoder, sentences, pooling="mean")
    same = (first.vectors - mean.vectors).abs().amax(dim=1) < 1e-6
    assert same[1:5].tolist() == [len(piece) == 1 for piece in pieces]
    assert {len(piece) == 1 for piece in pieces} == {True, False}


def test_a_tag_that_is_no_class_is_refused(processor: TextProcessor, text_encoder: Encoder, tmp_path: Any) -> None:
    features = Features({"text": Value("string"), "tags": List(ClassLabel(names=["O", "NOUN"]))})
    columns = {"text": ["the cat sleeps", "a dog runs"], "tags": [[0, 1, 0], [0, 1, -1]]}
    rows = Rows(Dataset.from_dict(columns, features=features), {"text": "text"}, name="conll", fingerprint="no class")
    split = Split(prepare(rows, processor, cache_dir=tmp_path), None, rows=rows)
    with pytest.raises(DataError, match=r"row 1 .* a word without a tag in column 'tags'"):
        TokenClassification(TokenClassificationConfig()).evaluate(text_encoder, split, split, seed=0)


def test_long_sentences_are_cut_between_words(text_encoder: Encoder) -> None:
    long = Sentence(("cat",) * 60, ("x",) * 60)
    made = word_vectors(text_encoder, [long], pooling="first")
    limit = text_encoder.processor.info()["max_length"] // len(text_encoder.processor.encode({"text": "cat"})["ids"])
    assert len(made.tags) == len(made.vectors) == limit
    assert made.ends == [limit]


def test_class_labels_and_lists_of_words(processor: TextProcessor, text_encoder: Encoder, tmp_path: Any) -> None:
    columns = tagged(30, 0)
    features = Features(
        {"text": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-NOUN"]))}
    )
    data = Dataset.from_dict(
        {
            "text": columns["text"],
            "tokens": [text.split() for text in columns["text"]],
            "ner_tags": [[int(tag != "O") for tag in tags] for tags in columns["tags"]],
        },
        features=features,
    )
    rows = Rows(data, {"text": "text"}, name="conll", fingerprint="conll")
    split = Split(prepare(rows, processor, cache_dir=tmp_path), None, rows=rows)
    made = TokenClassification(TokenClassificationConfig(words="tokens")).evaluate(text_encoder, split, split, seed=0)
    assert made["entity_f1"] > 0.95


def test_words_and_tags_must_fit(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    evaluator = TokenClassification(TokenClassificationConfig())
    short = split_of(text=["the cat sleeps"], tags=[["O", "B-NOUN"]])
    with pytest.raises(DataError, match=r"row 0 of pairs has 3 words .* and 2 tags"):
        evaluator.evaluate(text_encoder, short, short, seed=0)
    alike = split_of(text=["the cat sleeps"], tags=[["O", "O", "O"]])
    with pytest.raises(DataError, match="All 3 training words have the tag 'O'"):
        evaluator.evaluate(text_encoder, alike, alike, seed=0)
    known, new = split_of(text=["the cat"] * 5, tags=[["O", "N"]] * 5), split_of(text=["a cat"], tags=[["O", "X"]])
    assert evaluator.evaluate(text_encoder, known, new, seed=0)["accuracy"] <= 0.5, "a tag that is new counts as wrong"
    with pytest.raises(ColumnError, match=r"none holds the tags.*token-classification.tags"):
        evaluator.evaluate(text_encoder, split_of(text=["the cat"]), known, seed=0)
    with pytest.raises(ColumnError, match="no column 'tokens' with the words"):
        TokenClassification(TokenClassificationConfig(words="tokens")).evaluate(text_encoder, known, known, seed=0)


def test_fewer_training_words_are_whole_sentences(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    train = split_of(**tagged(60, 0))
    few, more = (
        TokenClassification(TokenClassificationConfig(max_words=n)).evaluate(
            text_encoder, train, split_of(**tagged(20, 1)), seed=0
        )
        for n in (60, 2000)
    )
    assert few["cross_entropy"] > more["cross_entropy"]


def test_a_backbone_without_tokens_is_refused(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    class Pooled(torch.nn.Module):
        modality, embed_dim, pooled_dim = "text", 4, 4

        def forward(self, batch: Any) -> Any:
            from selfsup.backbones import Encoded

            return Encoded(torch.zeros(len(batch["ids"]), 4))

    lacking = Encoder(text_encoder.processor, Pooled(), backbone_id="pooled", backbone_options={})  # type: ignore[arg-type]
    split = split_of(**tagged(5, 0))
    with pytest.raises(ConfigError, match="the backbone 'pooled' gives none"):
        TokenClassification(TokenClassificationConfig()).evaluate(lacking, split, split, seed=0)


def test_entities_are_whole_spans() -> None:
    tags = ["B-A", "I-A", "O", "I-B", "I-A", "B-A", "B-A"]
    assert entities(tags) == {(0, 2, "A"), (3, 4, "B"), (4, 5, "A"), (5, 6, "A"), (6, 7, "A")}
    assert entities(["B-A", "I-A"], ends=[1]) == {(0, 1, "A"), (1, 2, "A")}
    assert entity_f1(["B-A", "I-A", "O", "B-B"], ["B-A", "I-A", "I-A", "B-B"]) == pytest.approx(0.5)
    assert entity_f1(["O"], ["O"]) == 1.0
    assert is_bio(["O", "B-x", "I-x"])
    assert not is_bio(["O", "NN"])


@pytest.mark.parametrize("prefix", [True, False])
def test_words_keep_the_ids_that_they_have_in_their_sentence(prefix: bool) -> None:
    """Byte-level tokens hold the space in front of a word; RoBERTa's and GPT-2's tokenizers put none before the first."""
    rows = [{"text": "the old dog sleeps in the old house, and the dogs' owner sleeps too"}] * 3
    processor = TextProcessor(TextProcessorConfig(tokenizer="bpe", vocab_size=320, max_length=40)).fit(rows)
    processor.vocabulary.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    sentences = [("the", "old", "dog", "sleeps"), ("dogs'", "owner,", "Zoë", "日本", "too")]
    for words, encoded in zip(sentences, processor.encode_words(sentences), strict=True):
        joined = processor.encode({"text": " ".join(words)})["ids"].tolist()
        assert [id for ids in encoded for id in ids] == joined
        for word, ids in zip(words, encoded, strict=True):
            assert processor.vocabulary.tokenizer.decode(ids).strip() == word.lower()
    # What a word alone gives is something else where no space is put in front of it.
    alone = processor.encode({"text": "old"})["ids"].tolist()
    assert (alone == processor.encode_words(sentences)[0][1]) == prefix


def test_a_word_that_a_tokenizer_makes_nothing_of_is_the_unknown_token(text_encoder: Encoder) -> None:
    processor: Any = text_encoder.processor
    first, nothing, last = processor.encode_words([["the", "\u200b", "cat"]])[0]
    assert nothing == [processor.info()["unk_id"]]
    assert (first, last) == tuple(processor.encode_words([["the", "cat"]])[0])
