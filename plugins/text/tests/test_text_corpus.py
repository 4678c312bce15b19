"""The sample of texts that a tokenizer is trained on."""

import datasets
import pytest

from selfsup.data import Rows
from selfsup_text import corpus


@pytest.mark.parametrize("kind", ["rows", "list"])
def test_texts_are_of_all_parts_of_a_source_that_is_sorted_by_length(kind, monkeypatch):
    monkeypatch.setattr(corpus, "_FIT_CHARACTERS", 300_000)
    values = [{"text": "a" * 10}] * 3000 + [{"text": "b" * 200}] * 3000 + [{"text": "c" * 400}] * 3000
    rows = values if kind == "list" else Rows(dataset=datasets.Dataset.from_list(values), columns={"text": "text"})
    texts = corpus.sample_texts(rows)
    counts = {letter: sum(text[0] == letter for text in texts) for letter in "abc"}
    assert min(counts.values()) > 0.25 * len(texts), counts
    assert sum(map(len, texts)) <= 300_000
