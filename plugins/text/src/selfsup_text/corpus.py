"""A bounded sample of a corpus, and statistics of its tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from selfsup.data import Rows, spread_rows
from selfsup.types import Row
from selfsup_text.tokenization import Vocabulary

_FIT_ROWS = 200_000
_FIT_CHARACTERS = 10_000_000
_FIT_CHUNK = 1000
_LENGTH_ROWS = 1000
"""Rows that estimate the mean length of a text."""


def sample_texts(rows: Iterable[Row]) -> list[str]:
    """A bounded sample of texts to train on, in order."""
    texts: list[str] = []
    room = _FIT_CHARACTERS
    for row in _spread(rows):
        text = row.get("text")
        if isinstance(text, str) and (text := text.encode(errors="ignore").decode()[:room]) and not text.isspace():
            texts.append(text)
            room -= len(text)
        if room <= 0:
            break
    return texts


def _spread(rows: Iterable[Row]) -> Iterable[Row]:
    """At most 200,000 rows, spread evenly if rows can be indexed, so that their texts stay within the limit."""
    if not isinstance(rows, Rows | Sequence):
        return islice(rows, _FIT_ROWS)
    lengths = [len(text) for row in spread_rows(rows, _LENGTH_ROWS) if isinstance(text := row.get("text"), str)]
    mean = max(sum(lengths) / max(len(lengths), 1), 1.0)
    return spread_rows(rows, int(min(_FIT_ROWS, max(_FIT_CHARACTERS / mean, _LENGTH_ROWS))))


class Survey(NamedTuple):
    """Statistics of tokenized texts."""

    idf: list[float]
    """[V], log((1 + n) / (1 + texts with the token)) + 1 (scikit-learn's smooth idf), to four places; 0 for special tokens."""
    lengths: list[int]
    """Tokens of each text."""
    unknown: float
    """Share of unknown tokens."""


def survey(vocabulary: Vocabulary, texts: Sequence[str]) -> Survey:
    """Tokenize texts and count tokens."""
    found: Counter[int] = Counter()
    lengths: list[int] = []
    unknown, unknown_id = 0, vocabulary.id("unk")
    for start in range(0, len(texts), _FIT_CHUNK):
        part = list(texts[start : start + _FIT_CHUNK])
        for encoding in vocabulary.tokenizer.encode_batch_fast(part, add_special_tokens=False):
            ids = encoding.ids
            found.update(set(ids))
            lengths.append(len(ids))
            unknown += ids.count(unknown_id)
    special = set(vocabulary.special_ids()) - {vocabulary.id("unk")}
    n = 1 + len(texts)
    idf = [0.0 if id in special else round(math.log(n / (1 + found[id])) + 1, 4) for id in range(len(vocabulary))]
    return Survey(idf, lengths, unknown / max(sum(lengths), 1))
