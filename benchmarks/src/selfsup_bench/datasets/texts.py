"""Real text that every Python ships: the pages of its language reference behind ``help()``."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from selfsup.errors import SourceError
from selfsup_bench.datasets.cache import Columns, cached

if TYPE_CHECKING:
    from datasets import Dataset, Features

SHORTEST = 40
"""Characters of the shortest paragraph that is used: shorter ones are headings and pieces of grammar."""

_TOPICS: Mapping[str, str] = {
    "statements": (
        "assert assignment async augassign break class compound continue del else for function global if import nonlocal pass "
        "raise return try while with"
    ),
    "expressions": (
        "atom-identifiers atom-literals attribute-references await binary bitwise booleans calls comparisons conversions dict "
        "exprlists floating id-classes identifiers imaginary in integers lambda lists numbers operator-summary power shifting "
        "slicings strings subscriptions unary yield"
    ),
    "data model": (
        "attribute-access callable-types context-managers customization dynamic-features exceptions execmodel naming "
        "numeric-types objects sequence-types specialnames types"
    ),
    "built-in types": (
        "bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects formatstrings specialattrs "
        "string-methods truth typesfunctions typesmapping typesmethods typesmodules typesseq typesseq-mutable"
    ),
    "debugger": "debugger",
}
PARTS: Mapping[str, tuple[str, ...]] = {part: tuple(topics.split()) for part, topics in _TOPICS.items()}
"""Class to its topics: the chapters of the reference that they are pages of."""


def pydoc_topics(split: str) -> Dataset:
    """Some 1,500 paragraphs of Python's reference, and which part of it each is from (five classes of unequal size).

    From ``pydoc_data.topics`` of the Python that runs, so the rows differ from version to version, and only results of one
    version can be compared; the fingerprint in every record distinguishes them. A paragraph on several pages is used once; one
    on pages of two parts is left out. Every fifth paragraph of a class, in the order of the pages, is a test row.

    Raises:
        SourceError: there is no such split, or this Python has been stripped of these pages.
    """
    return cached("pydoc-topics", f"python-{platform.python_version()}", split, _read)


def _read() -> tuple[Columns, Features]:
    from datasets import ClassLabel, Features, Value

    rows = labelled_paragraphs(_pages())
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(PARTS))})
    return {"text": [text for text, _ in rows], "label": [label for _, label in rows]}, features


def _pages() -> Mapping[str, str]:
    try:
        pages: Mapping[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise SourceError(
            f"This Python was installed without its help pages ({error}), from which the data set pydoc-topics is made. Use "
            "another Python, or other text."
        ) from error
    return pages


def labelled_paragraphs(pages: Mapping[str, str]) -> list[tuple[str, int]]:
    """Paragraphs with the number of their part, in the order of parts and pages, each once and of one part only.

    Args:
        pages: topic to its page as plain text; topics that :data:`PARTS` does not know are left out.
    """
    parts_of: dict[str, set[int]] = {}
    for part, topics in enumerate(PARTS.values()):
        for topic in topics:
            for block in re.split(r"\n\s*\n", pages.get(topic, "")):
                text = " ".join(block.split())
                if len(text) >= SHORTEST:
                    parts_of.setdefault(text, set()).add(part)
    return [(text, next(iter(parts))) for text, parts in parts_of.items() if len(parts) == 1]
