from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset

import selfsup
from selfsup.artifacts import Encoder
from selfsup.errors import ColumnError, DataError
from selfsup.evaluation import Split
from selfsup_text.evaluators.correlation import pearson, spearman
from selfsup_text.evaluators.sts import STS, STSConfig

FIRST = ["the cat sleeps in the house", "the old train stops", "a quiet river", "the dog eats in the garden .", "red car"]
SECOND = ["the cat sleeps in the house", "the dog hides", "strange wheel breaks", "the dog eats in the forest", "a pump leaks"]


def test_correlations_of_ties_and_of_what_does_not_vary() -> None:
    x, y = torch.tensor([3.0, 1.0, 3.0, 0.5]), torch.tensor([9.0, 2.0, 4.0, 1.0])
    # Ranks 3.5 2 3.5 1 against 4 2 3 1: 4.5 / sqrt(4.5 * 5).
    assert spearman(x, y) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert pearson(x, 2 * x + 1) == pytest.approx(1.0)
    assert spearman(torch.ones(3), torch.arange(3)) == pearson(torch.ones(3), torch.arange(3)) == 0.0


def cosines(encoder: Encoder) -> list[float]:
    a, b = (torch.from_numpy(encoder.embed([{"text": text} for text in texts])) for texts in (FIRST, SECOND))
    return torch.nn.functional.cosine_similarity(a, b).tolist()


def test_scores_in_the_order_of_the_cosines_are_a_correlation_of_one(
    text_encoder: Encoder, split_of: Callable[..., Split]
) -> None:
    similar = cosines(text_encoder)
    test = split_of(text=FIRST, sentence_b=SECOND, score=[math.exp(5 * value) for value in similar])
    made = STS(STSConfig()).evaluate(text_encoder, test, test, seed=0)
    assert made["spearman"] == pytest.approx(1.0)
    assert made["pairs"] == 5
    turned = split_of(text=FIRST, sentence_b=SECOND, score=[-value for value in similar])
    assert STS(STSConfig()).evaluate(text_encoder, turned, turned, seed=0)["spearman"] == pytest.approx(-1.0)


def test_pairs_with_an_unreadable_sentence_are_left_out(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    similar = cosines(text_encoder)
    test = split_of(
        text=["", *FIRST, "a fine sentence"], sentence_b=["nothing", *SECOND, "  "], score=[-9.0, *similar, -9.0], other=[1] * 7
    )
    made = STS(STSConfig(score="score")).evaluate(text_encoder, test, test, seed=0)
    assert made["pairs"] == 5
    assert made["spearman"] == pytest.approx(1.0)


def test_columns_that_cannot_be_found_are_named(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    lonely = split_of(text=FIRST, score=[0.0] * 5)
    with pytest.raises(ColumnError, match=r"none holds the second sentences.*--set sts.other=COLUMN"):
        STS(STSConfig()).evaluate(text_encoder, lonely, lonely, seed=0)
    several = split_of(text=FIRST, b=SECOND, x=[0.0] * 5, y=[1.0] * 5)
    with pytest.raises(ColumnError, match=r"several could hold the scores: x, y.*--set sts.score=COLUMN"):
        STS(STSConfig()).evaluate(text_encoder, several, several, seed=0)
    with pytest.raises(ColumnError, match="Column 'b' of pairs cannot hold the scores"):
        STS(STSConfig(score="b")).evaluate(text_encoder, several, several, seed=0)
    with pytest.raises(ColumnError, match="has no column 'z'"):
        STS(STSConfig(other="z")).evaluate(text_encoder, several, several, seed=0)
    with pytest.raises(ColumnError, match="have no rows"):
        STS(STSConfig()).evaluate(text_encoder, several, Split(several.store, None), seed=0)


def test_a_missing_score_is_an_error(text_encoder: Encoder, split_of: Callable[..., Split]) -> None:
    test = split_of(text=FIRST, sentence_b=SECOND, score=[1.0, 2.0, None, 4.0, 5.0])
    with pytest.raises(DataError, match="row 2 of pairs has no score"):
        STS(STSConfig()).evaluate(text_encoder, test, test, seed=0)


def test_pairs_reach_the_evaluator_from_a_file(text_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    columns = {"sentence_a": FIRST, "sentence_b": SECOND, "score": cosines(text_encoder), "label": [0, 1, 0, 1, 0]}
    (tmp_path / "pairs").mkdir()
    Dataset.from_dict(columns).to_parquet(tmp_path / "pairs" / "test.parquet")
    Dataset.from_dict({**columns, "sentence_a": SECOND}).to_parquet(tmp_path / "pairs" / "train.parquet")
    (record,) = selfsup.evaluate(text_encoder, tmp_path / "pairs", evaluators=["sts"], columns={"text": "sentence_a"})
    assert record.metrics["spearman"] == pytest.approx(1.0)
