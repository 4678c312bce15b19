"""What is learned of a corpus: a bounded sample of its texts, and how rare each token is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from selfsup.data import Rows
from selfsup.types import Row
from selfsup_text.tokenization import Vocabulary

_FIT_ROWS = 200_000
_FIT_CHARACTERS = 10_000_000
_FIT_CHUNK = 1000


def sample_texts(rows: Iterable[Row]) -> list[str]:
    """Texts to train on, a bounded number of them, in their order."""
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
    """At most 200,000 rows, evenly over all of them where they can be picked."""
    if not isinstance(rows, Rows):
        yield from islice(rows, _FIT_ROWS)
        return
    head = rows.read(range(min(_FIT_CHUNK, len(rows))))
    mean = max(sum(len(text) for row in head if isinstance(text := row.get("text"), str)) / len(head), 1.0)
    wanted = int(min(len(rows), _FIT_ROWS, max(_FIT_CHARACTERS / mean, _FIT_CHUNK)))
    places = np.linspace(0, len(rows) - 1, wanted).astype(np.int64)
    for start in range(0, wanted, _FIT_CHUNK):
        yield from rows.read(places[start : start + _FIT_CHUNK])


def inverse_frequencies(vocabulary: Vocabulary, texts: Sequence[str]) -> list[float]:
    """[V], log((1 + n) / (1 + texts with the token)) + 1 (scikit-learn's smooth idf), to four places; 0 for special tokens."""
    found: Counter[int] = Counter()
    for start in range(0, len(texts), _FIT_CHUNK):
        part = list(texts[start : start + _FIT_CHUNK])
        for encoding in vocabulary.tokenizer.encode_batch_fast(part, add_special_tokens=False):
            found.update(set(encoding.ids))
    special = set(vocabulary.special_ids()) - {vocabulary.id("unk")}
    n = 1 + len(texts)
    return [0.0 if id in special else round(math.log(n / (1 + found[id])) + 1, 4) for id in range(len(vocabulary))]
