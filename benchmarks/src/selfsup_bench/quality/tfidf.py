"""TF-IDF and logistic regression: the strong and cheap reference of text classification, as scikit-learn makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup.evaluation import Split
from selfsup.evaluation.subsets import stratified_folds

_PENALTIES = (0.1, 1.0, 10.0, 100.0)
_IDEOGRAPHIC = 0.3
"""From this share of Chinese, Japanese or Korean characters on, characters are counted: there is no white space to cut at."""


def tfidf_outputs(train: Split, rows: np.ndarray[tuple[int], np.dtype[np.int64]], test: Split, *, seed: int) -> Tensor:
    """What word counts say of the test texts: log-probabilities [M, K], log-odds [M, K] of several classes, or numbers [M].

    Words and pairs of words (characters and pairs of them where a language has no white space), with sublinear counts; rarity
    is learned from all training texts, as pretraining sees them all, and the penalty chosen on the labelled ones by
    cross-validation. The model is a logistic regression (one a class where a text may have several), or a ridge regression.

    Args:
        train: all training texts, with their labels.
        rows: [n], those whose labels may be used.
        test: the test texts.
        seed: of the folds.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, PredefinedSplit

    texts, wanted = texts_of(train), texts_of(test)
    analyzer = "char" if ideographic(texts[:200]) else "word"
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, analyzer=analyzer)
    counts = vectorizer.fit_transform(texts)[rows]
    new = vectorizer.transform(wanted)
    labels = train.targets().numpy()[rows]
    if train.label_kind == "number":
        model: Any = Ridge()
        if len(labels) >= 5:
            folds = PredefinedSplit(stratified_folds(labels, 5, seed=seed))
            penalties = {"alpha": [1 / (2 * c) for c in _PENALTIES]}
            model = GridSearchCV(model, penalties, cv=folds, scoring="neg_mean_squared_error")
        return torch.from_numpy(np.asarray(model.fit(counts, labels).predict(new), dtype=np.float64))
    if train.label_kind == "class":
        return torch.from_numpy(np.log(_probabilities(counts, labels, new, len(train.class_names), seed)))
    odds = np.zeros((len(wanted), labels.shape[1]))
    for k in range(labels.shape[1]):
        found = _probabilities(counts, labels[:, k].astype(np.int64), new, 2, seed)
        odds[:, k] = np.log(found[:, 1]) - np.log(found[:, 0])
    return torch.from_numpy(odds)


def _probabilities(counts: Any, labels: Any, new: Any, n_classes: int, seed: int) -> Any:
    """[M, K] above 0, of a logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    tiny = np.finfo(np.float64).tiny
    probabilities = np.full((new.shape[0], n_classes), tiny)
    there = np.unique(labels)
    if len(there) == 1:
        probabilities[:, there[0]] = 1.0
        return probabilities
    model: Any = LogisticRegression(max_iter=1000)
    folds = min(5, int(np.bincount(labels)[there].min()))
    if folds > 1:
        split = StratifiedKFold(folds, shuffle=True, random_state=seed)
        model = GridSearchCV(model, {"C": list(_PENALTIES)}, cv=split, scoring="accuracy")
    model.fit(counts, labels)
    probabilities[:, model.classes_] = np.maximum(model.predict_proba(new), tiny)
    return probabilities


def texts_of(split: Split) -> list[str]:
    """The text of each sample."""
    assert split.rows is not None
    return [row["text"] for row in split.rows.read(split.store.kept)]


def ideographic(texts: Sequence[str]) -> bool:
    """Whether the texts are of a script without white space between words."""
    joined = "".join("".join(text.split()) for text in texts)
    marks = sum("\u3040" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7af" for character in joined)
    return marks > _IDEOGRAPHIC * max(1, len(joined))
