import math

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from selfsup_text.features import tfidf
from selfsup_text.processor import TextProcessor, TextProcessorConfig

TEXTS = ["the dog sleeps", "the dog the cat", "a cat runs home", "the home"]


def test_tfidf_is_that_of_scikit_learn_on_whole_words():
    rows = [{"text": text} for text in TEXTS]
    processor = TextProcessor(TextProcessorConfig(min_frequency=1, vocab_size=1000)).fit(rows)
    ours = tfidf(processor(rows), processor.info())
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+")
    theirs = torch.from_numpy(vectorizer.fit_transform(TEXTS).toarray()).float()
    columns = [processor.vocabulary.tokenizer.token_to_id(word) for word in vectorizer.get_feature_names_out()]
    torch.testing.assert_close(ours[:, columns], theirs, atol=1e-4, rtol=1e-3)
    assert ours.shape == (4, processor.info()["vocab_size"])


def test_padding_and_special_tokens_count_nothing():
    info = {"idf": [0.0, 1.0, 2.0]}
    batch = {"ids": torch.tensor([[1, 2, 2, 0]]), "padding": torch.tensor([[False, False, False, True]])}
    features = tfidf(batch, info)[0]
    assert features[0] == 0
    assert features[2] / features[1] == pytest.approx(2 * (1 + math.log(2)))
