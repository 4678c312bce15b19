"""Synthetic texts with structure for every kind of task."""

from __future__ import annotations

from functools import partial

import numpy as np

from selfsup.types import Row

_TOPICS = (
    (["cat", "dog", "horse", "bird"], ["sleeps", "runs", "eats", "hides"], ["garden", "field", "forest", "house"]),
    (["engine", "wheel", "brake", "pump"], ["turns", "stops", "breaks", "leaks"], ["car", "train", "ship", "plane"]),
)
_WORDS = ("small", "old", "quiet", "red", "strange")


def mock_rows(n: int, seed: int) -> list[Row]:
    """``n`` texts of two to four sentences on one of two topics, without labels.

    A sentence is "the <word> <subject> <verb> in the <place> .", so that order, words and topic can be predicted in part.
    """
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for index in range(n):
        subjects, verbs, places = _TOPICS[index % 2]
        sentences = [
            f"The {rng.choice(_WORDS)} {rng.choice(subjects)} {rng.choice(verbs)} in the {rng.choice(places)} ."
            for _ in range(int(rng.integers(2, 5)))
        ]
        rows.append({"text": " ".join(sentences)})
    return rows


def noise_rows(n: int, seed: int, words: tuple[int, int]) -> list[Row]:
    """``n`` texts of ``words`` (least, most) words, drawn independently from the words of the mock rows."""
    rng = np.random.default_rng(seed)
    known = [*_WORDS, *(word for topic in _TOPICS for kind in topic for word in kind)]
    lengths = rng.integers(words[0], words[1] + 1, size=n)
    return [{"text": " ".join(rng.choice(known, size=length))} for length in lengths]


NOISE_ROWS = {
    "4 words": partial(noise_rows, words=(4, 4)),
    "30 words": partial(noise_rows, words=(30, 30)),
    "1 to 200 words": partial(noise_rows, words=(1, 200)),
}
"""Independent noise for the leak checks: very short, medium, and of all lengths up to more than a sample."""
