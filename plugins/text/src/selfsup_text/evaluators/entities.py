"""Entities in sequences of tags, and their F1: an entity is correct if its kind and both ends are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Entity = tuple[int, int, str]
"""First word, word after the last one, kind."""


def is_bio(tags: Iterable[str]) -> bool:
    """Whether the tags mark entities: ``B-KIND``, ``I-KIND``, and ``O`` outside."""
    return all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags)


def entities(tags: Sequence[str], ends: Iterable[int] = ()) -> set[Entity]:
    """The entities in a sequence of tags; an ``I-`` that does not continue an entity of its kind begins one.

    Args:
        tags: one per word.
        ends: indices where the next sentence begins; no entity crosses them.
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


def entity_f1(predicted: Sequence[str], true: Sequence[str], ends: Iterable[int] = ()) -> float:
    """F1 of the entities (Tjong Kim Sang and De Meulder 2003, CoNLL shared task); 1 if there are none at all."""
    places = list(ends)
    a, b = entities(predicted, places), entities(true, places)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
