"""Plugins of this checkout, the benchmark, and the plugin that `selfsup plugins new` writes import public names only.

A plugin may import from ``selfsup`` and from the modules in ``PUBLIC``, and only what these have in ``__all__``. Targets of
specs (``"selfsup.tasks:DENOISING_FAMILY"``) are checked in the same way. import-linter sees modules and not names, so this
is a test.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = {line.partition(":")[0] for line in (ROOT / "core/tests/public_api.txt").read_text().splitlines()}
TEMPLATES = ROOT / "core/src/selfsup/templates/plugin"
SOURCES = [
    *sorted(ROOT.glob("plugins/*/src/**/*.py")),
    *sorted(ROOT.glob("benchmarks/src/**/*.py")),
    *sorted(TEMPLATES.glob("*.py.txt")),
]


def uses(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, module of selfsup and name of each import and of each target in a string; the name of a bare import is empty."""
    for node in ast.walk(ast.parse(source.replace("$", ""))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "selfsup":
            yield from ((node.lineno, node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "selfsup")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            target = re.fullmatch(r"(selfsup(?:\.\w+)*):(\w+)", node.value)
            if target:
                yield node.lineno, target[1], target[2]


def faults(source: str) -> list[str]:
    """What of a source is not public."""
    found = []
    for line, module, name in uses(source):
        if module not in PUBLIC:
            found.append(f"line {line}: {module} is private ({name})")
        elif name and not is_public(module, name):
            found.append(f"line {line}: {name} is no public name of {module}")
    return found


def is_public(module: str, name: str) -> bool:
    return name in importlib.import_module(module).__all__


def test_the_tutorials_use_public_names_alone() -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/extend").glob("*.md")}
    blocks = {page: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for page, text in pages.items()}
    assert {"objective.md", "modality.md"} <= {page for page, found in blocks.items() if found}
    found = {page: [fault for block in own for fault in faults(block)] for page, own in blocks.items()}
    assert {page: wrong for page, wrong in found.items() if wrong} == {}


def test_plugins_use_public_names_alone() -> None:
    found = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from selfsup.tasks.base import PretextTask", "line 1: selfsup.tasks.base is private (PretextTask)"),
        ("if TYPE_CHECKING:\n    from selfsup.data import pydantic", "line 2: pydantic is no public name of selfsup.data"),
        ("import selfsup.tasks.base", "line 1: selfsup.tasks.base is private ()"),
        ("preset(recipe='selfsup.objectives.clip:RECIPE')", "line 1: selfsup.objectives.clip is private (RECIPE)"),
        ("from selfsup.types import TYPE_CHECKING_", "line 1: TYPE_CHECKING_ is no public name of selfsup.types"),
    ],
)
def test_each_kind_of_fault_is_seen(source: str, fault: str) -> None:
    assert faults(source) == [fault]


def test_there_are_sources_of_every_plugin() -> None:
    found = {path.parts[len(ROOT.parts) + 1] for path in SOURCES if path.is_relative_to(ROOT / "plugins")}
    assert ROOT / "benchmarks/src/selfsup_bench/cells/measure.py" in SOURCES
    assert {"audio", "images", "multimodal", "tabular", "text", "video", "vision"} <= found
    assert TEMPLATES / "plugin.py.txt" in SOURCES
