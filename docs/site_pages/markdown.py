"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")
_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def text(words: str) -> str:
    """Words of a docstring or a summary as Markdown: roles become code, and signs that mean something are escaped."""
    words = _ROLE.sub(r"``\1``", " ".join(words.split()))
    pieces = _CODE.split(words)
    escaped = [piece if place % 2 else re.sub(r"([*_<>\[\]\\$])", r"\\\1", piece) for place, piece in enumerate(pieces)]
    return "".join(escaped).replace("|", r"\|")


def code(words: object) -> str:
    """Words as code; empty words stay empty."""
    shown = str(words).replace("|", r"\|")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`" if shown else ""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def save(path: Path, *blocks: str) -> None:
    """Write blocks, with an empty line between two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n", encoding="utf-8")
