"""Entities in a series of tags, each counted as found only if its kind and both of its ends are right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Entity = tuple[int, int, str]
"""First word, word behind the last one, kind."""


def is_bio(tags: Iterable[str]) -> bool:
    """Whether the tags mark entities: ``B-KIND`` and ``I-KIND``, and ``O`` outside."""
    return all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags)


def entities(tags: Sequence[str], ends: Iterable[int] = ()) -> set[Entity]:
    """The entities of a series of tags; an ``I-`` that follows no word of its kind begins one.

    Args:
        tags: one a word.
        ends: places behind which another sentence begins, which no entity crosses.
    """
    borders = set(ends)
    found: set[Entity] = set()
    start, kind = 0, ""
    for i, tag in enumerate((*tags, "O")):
        goes_on = tag == f"I-{kind}" and bool(kind) and i not in borders
        if goes_on:
            continue
        if kind:
            found.add((start, i, kind))
        start, kind = i, tag[2:] if tag != "O" else ""
    return found


def entity_f1(said: Sequence[str], true: Sequence[str], ends: Iterable[int] = ()) -> float:
    """F1 of the entities (Tjong Kim Sang and De Meulder 2003, CoNLL shared task); 1 where there are none on either side."""
    places = list(ends)
    a, b = entities(said, places), entities(true, places)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
