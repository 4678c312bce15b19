"""Findings about the parts of rows: how many rows lack a part, and which parts are constant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from selfsup.data import Findings, Processor, Rows, spread_rows
from selfsup.registry import registry
from selfsup.types import Row
from selfsup_multimodal.part_rows import contents_of

_SEEN = 256
"""Rows of a part that are compared with each other."""
_MANY = 0.5
"""Share of rows without a part above which there is a warning."""


@dataclass(frozen=True)
class Lacking:
    """Counts for one part."""

    total: int
    """Rows."""
    there: int
    """Rows that have the part."""
    seen: int
    """Rows that were compared."""
    different: int
    """Different contents among these."""

    @classmethod
    def of(cls, rows: Rows | Sequence[Row], *, total: int, there: int) -> Lacking:
        """Compare a sample of the rows that have a part."""
        some = list(spread_rows(rows, _SEEN))
        return cls(total, there, len(some), len(set(contents_of(some).tolist())))


def described(
    parts: Mapping[str, Processor], lacking: Mapping[str, Lacking], *, several: Collection[str], captions: int
) -> Findings:
    """The findings of all parts, each fact with the name of its part."""
    found = Findings()
    for name, part in parts.items():
        own = part.findings()
        if (seen := lacking.get(name)) is not None:
            missing = seen.total - seen.there
            share = f" ({100 * missing / seen.total:.3g} %)" if missing else ""
            found.add(name, f"{missing} of {seen.total} rows lack it{share}")
            if 1 < seen.different < seen.seen:
                found.add(name, f"{seen.seen - seen.different} of {seen.seen} compared rows repeat another")
            if missing > _MANY * seen.total:
                found.warn(f"Most rows ({missing} of {seen.total}) lack the part {name!r} and teach nothing about it.")
            if seen.different == 1 and seen.seen > 1:
                found.warn(
                    f"The part {name!r} is the same in all {seen.seen} compared rows, so it teaches nothing. Check that it "
                    "uses the right column (--column ROLE=NAME)."
                )
        if name in several:
            found.add(name, f"at most {captions} texts per row, one drawn at each step (--set processor.captions=)")
        for topic, text in own.facts.items():
            found.add(f"{name} {topic}", _with_keys(text, name, part))
        for text in own.warnings:
            found.warn(f"{name}: {_with_keys(text, name, part)}")
    return found


def _with_keys(text: str, name: str, part: Processor) -> str:
    """Replace the option names of the part's own processor by their names here."""
    text = text.replace("processor.", f"processor.options.{name}.")
    spec = registry().modalities.get(part.modality)
    for flag in spec.flags if spec is not None else ():
        text = text.replace(f"--{flag.name}", f"--set {flag.option.replace('processor.', f'processor.options.{name}.')}=")
    return text
