"""The README of each plugin says of each of its own tasks what differs from the paper."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins"
HEADING = "what differs from the paper"
COMPLETE = ("audio", "text")
"""Plugins whose table has every task that they register themselves."""


def rows(readme: str) -> dict[str, str]:
    """Task to what the last column of a table under :data:`HEADING` says of it."""
    found: dict[str, str] = {}
    inside = False
    for line in readme.splitlines():
        if not line.startswith("|"):
            inside = False
        elif HEADING in line:
            inside = True
        elif inside:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found |= dict.fromkeys(re.findall(r"`([a-z]+/[a-z0-9-]+)`", cells[0]), cells[-1])
    return found


@pytest.mark.parametrize("plugin", COMPLETE)
def test_every_own_task_has_a_row(plugin: str) -> None:
    own = [spec.id for spec in import_module(f"selfsup_{plugin}.plugin").selfsup_tasks()]
    said = rows((PLUGINS / plugin / "README.md").read_text())
    assert [task for task in own if not said.get(task)] == []


def test_a_table_is_read() -> None:
    table = (
        f"| task | family | {HEADING} |\n|---|---|---|\n| `a/b`, `a/c-2` | x | much |\n| `a/d` | y | |\n\n| `a/e` | z | no |\n"
    )
    assert rows(table) == {"a/b": "much", "a/c-2": "much", "a/d": ""}
