"""TF-IDF and logistic regression: the strong and cheap reference of text classification, as scikit-learn makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.evaluation import Split

_PENALTIES = (0.1, 1.0, 10.0, 100.0)
_IDEOGRAPHIC = 0.3
"""From this share of Chinese, Japanese or Korean characters on, characters are counted: there is no white space to cut at."""


def tfidf_log_probabilities(
    train: Split, rows: np.ndarray[tuple[int], np.dtype[np.int64]], test: Split, *, seed: int
) -> Tensor:
    """Log-probabilities [M, K] of the test texts.

    Words and pairs of words (characters and pairs of them where a language has no white space), with sublinear counts; rarity
    is learned from all training texts, as pretraining sees them all, and the penalty chosen on the labelled ones by
    cross-validation.

    Args:
        train: all training texts, with their labels.
        rows: [n], those whose labels may be used.
        test: the test texts.
        seed: of the folds.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    texts, wanted = texts_of(train), texts_of(test)
    analyzer = "char" if ideographic(texts[:200]) else "word"
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, analyzer=analyzer)
    counts = vectorizer.fit_transform(texts)
    labels = train.targets().numpy()[rows]
    folds = min(5, int(np.bincount(labels)[np.unique(labels)].min()))
    model: Any = LogisticRegression(max_iter=1000)
    if folds > 1:
        split = StratifiedKFold(folds, shuffle=True, random_state=seed)
        model = GridSearchCV(model, {"C": list(_PENALTIES)}, cv=split, scoring="accuracy")
    model.fit(counts[rows], labels)
    tiny = np.finfo(np.float64).tiny
    probabilities = np.full((len(wanted), len(train.class_names)), tiny)
    probabilities[:, model.classes_] = np.maximum(model.predict_proba(vectorizer.transform(wanted)), tiny)
    return torch.from_numpy(np.log(probabilities))


def texts_of(split: Split) -> list[str]:
    """The text of each sample."""
    assert split.rows is not None
    return [row["text"] for row in split.rows.read(split.store.kept)]


def ideographic(texts: Sequence[str]) -> bool:
    """Whether the texts are of a script without white space between words."""
    joined = "".join("".join(text.split()) for text in texts)
    marks = sum("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7af" for character in joined)
    return marks > _IDEOGRAPHIC * max(1, len(joined))
