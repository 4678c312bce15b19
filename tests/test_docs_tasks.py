"""Each modality's page says of every task that its plugin registers itself what differs from its paper, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selfsup.registry import registry

PAGES = Path(__file__).parents[1] / "docs" / "modalities"
HEADING = "what differs from the paper"
MODALITIES = ("audio", "multimodal", "tabular", "text", "video", "vision")


def rows(page: str, modality: str) -> list[tuple[str, str]]:
    """Task and what differs, of each task that the table names; one row may name several (`` `vision/mae`, `simmim` ``)."""
    lines = page.splitlines()
    header = next((i for i, line in enumerate(lines) if line.startswith("| task |") and HEADING in line), None)
    assert header is not None, f"there is no table with the columns 'task' and '{HEADING}'"
    column = [cell.strip() for cell in lines[header].strip("| ").split("|")].index(HEADING)
    found: list[tuple[str, str]] = []
    for line in lines[header + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        names = re.findall(r"`([^`]+)`", cells[0])
        found += [(name if "/" in name else f"{modality}/{name}", cells[column]) for name in names]
    return found


def faults(page: str, modality: str) -> list[str]:
    """What is wrong with the table of differences on a page."""
    house = registry()
    own = {id for id, spec in house.tasks.items() if not spec.composed and house.provider(spec)[0] == f"selfsup-{modality}"}
    named = rows(page, modality)
    tasks = [task for task, _ in named]
    return [
        *(f"{task} has no row" for task in sorted(own - set(tasks))),
        *(f"{task} is no task" for task in tasks if task not in house.tasks),
        *(f"{task} has {tasks.count(task)} rows" for task in sorted(set(tasks)) if tasks.count(task) > 1),
        *(f"the row of {task} says nothing" for task, differs in named if not re.search(r"\w", differs)),
    ]


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_task_of_a_plugin_says_what_differs_from_its_paper(modality: str) -> None:
    assert faults((PAGES / f"{modality}.md").read_text(encoding="utf-8"), modality) == []


def test_each_fault_of_a_table_is_seen() -> None:
    page = (PAGES / "tabular.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("| `tabular/vime` |"))
    assert faults(page.replace(line + "\n", ""), "tabular") == ["tabular/vime has no row"]
    assert faults(page.replace(line, line.replace("vime", "no-such")), "tabular") == [
        "tabular/vime has no row",
        "tabular/no-such is no task",
    ]
    assert faults(page.replace(line, f"{line}\n{line}"), "tabular") == ["tabular/vime has 2 rows"]
    assert faults(page.replace(line, "| `tabular/vime` | reconstruction | |"), "tabular") == [
        "the row of tabular/vime says nothing"
    ]
