"""Facts found in the data, shown once per run and kept in ``run.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN_NAMES = 8
"""Most names that a list shows."""


@dataclass
class Findings:
    """Facts by topic and warnings, each a short text for people.

    A source notes how it was read (files, separator, encoding, columns), a processor what it decided (kinds of columns, sizes,
    rates, ranges, lengths). The text of a guess says how to set it: ``32 pixels (--set processor.image_size=)``.
    """

    facts: dict[str, str] = field(default_factory=dict)
    """Topic (one or two words, such as ``image size``) to text."""
    warnings: list[str] = field(default_factory=list)
    """What may need the user's attention, as whole sentences."""

    def add(self, topic: str, text: str) -> None:
        """Note a fact. Two texts on one topic are joined by a semicolon."""
        former = self.facts.get(topic)
        if former is None:
            self.facts[topic] = text
        elif text not in former.split("; "):
            self.facts[topic] = f"{former}; {text}"

    def add_files(self, taken: Counter[str], passed_over: Counter[str]) -> None:
        """Note how many files are used and skipped, by suffix."""
        self.add("files", f"{taken.total()} used ({suffix_counts(taken)})")
        if passed_over:
            self.add("files", f"{passed_over.total()} skipped by suffix ({suffix_counts(passed_over)})")

    def warn(self, text: str) -> None:
        """Note a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def joined(self, *others: Findings) -> Findings:
        """These findings and those of others, in this order."""
        result = Findings(dict(self.facts), list(self.warnings))
        for other in others:
            for topic, text in other.facts.items():
                result.add(topic, text)
            for warning in other.warnings:
                result.warn(warning)
        return result

    def as_json(self) -> dict[str, Any]:
        """``facts`` and ``warnings`` as JSON values."""
        return {"facts": dict(self.facts), "warnings": list(self.warnings)}

    def lines(self, title: str) -> list[str]:
        """The title, a line a fact, and a line a warning."""
        facts = [f"  {topic}: {text}" for topic, text in self.facts.items()]
        return [title, *facts, *(f"Warning: {text}" for text in self.warnings)]


def of_info(info: Mapping[str, Any], config: Mapping[str, Any]) -> Findings:
    """A processor's ``info`` as findings, for processors without findings of their own.

    Shows numbers, texts and short lists, and the number of entries of longer lists. If the config has ``auto`` under the same
    key, the text says how to set it.
    """
    found = Findings()
    for key, value in info.items():
        text = _shown(value)
        if text:
            guessed = f" (detected; --set processor.{key}=)" if config.get(key) == "auto" else ""
            found.add(key.replace("_", " "), text + guessed)
    return found


def _shown(value: Any) -> str:
    if isinstance(value, str | bool | int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        plain = all(isinstance(item, str | int | float) for item in value)
        return (
            listed_names(map(_shown, value)) if plain and len(value) <= SHOWN_NAMES else f"{len(value)} entries" * bool(value)
        )
    return ""


def listed_names(items: Iterable[str], most: int = SHOWN_NAMES) -> str:
    """``a, b, c and 12 more``."""
    listed = list(items)
    shown = ", ".join(listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"


def suffix_counts(counts: Counter[str]) -> str:
    """``4 .xyz, 1 .pdf``: number of files by suffix, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return listed_names(f"{count} {suffix or 'without suffix'}" for suffix, count in ordered)
