"""The README's commands are those of the pages, which tests run, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from selfsup_bench.commands import benchmark

ROOT = Path(__file__).parents[1]
GENERATED = {"_generated", "_build"}
_FOUND = [*sorted(ROOT.glob("*/README.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
READMES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(path.relative_to(ROOT).as_posix() for path in _FOUND)]
PAGES = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")) if not GENERATED & set(path.parts)]


def commands(path: Path) -> list[str]:
    """The commands in a file's fenced blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_the_first_commands_install_and_benchmark() -> None:
    assert commands(ROOT / "README.md")[:2] == ["pip install .", "selfsup benchmark"]


def test_commands_are_those_of_the_pages() -> None:
    """But for what they do not repeat: options such as ``--out`` may differ."""
    known = {tuple(shlex.split(line)[:4]) for page in PAGES for line in commands(ROOT / page)}
    found = [(name, line) for name in READMES for line in commands(ROOT / name) if line.startswith("selfsup ")]
    assert len(found) >= 15
    for name, line in found:
        if line.startswith("selfsup benchmark"):
            benchmark.make_context("benchmark", shlex.split(line)[2:])
        else:
            start = tuple(shlex.split(line)[:4])
            assert any(start[: len(other)] == other for other in known) or start[:3] == ("selfsup", "list", "tasks"), (
                name,
                line,
            )


@pytest.mark.parametrize("name", [*READMES, *PAGES])
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    inner = [link.partition("#") for link in links if not re.match(r"[a-z]+:", link)]
    for target, _, anchor in inner:
        if "_generated/" in target:
            continue  # Sphinx checks these
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{name}: {target}"
        if anchor and found.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{name}: {target}#{anchor}"
