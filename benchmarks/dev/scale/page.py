"""The tables of the page on large data, from the records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from scale.cost import METHODS, RECORDS, Cost, Plan, recorded_constants

PAGE = Path(__file__).parents[3] / "docs" / "large-data.md"
_BLOCK = re.compile(r"(<!-- from records: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def number(value: float) -> str:
    """Three digits, with commas."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def tables() -> dict[str, str]:
    """Name to Markdown."""
    return {
        "simulation": _simulation(json.loads((RECORDS / "simulation.json").read_text())),
        "cost": _cost(),
        "limits": _limits(),
    }


def written(text: str) -> str:
    """A page with its tables made anew."""
    made = tables()
    return _BLOCK.sub(lambda match: f"{match[1]}{made[match[2]]}{match[4]}", text)


def _simulation(record: dict[str, Any]) -> str:
    heads = (
        "processes",
        "split",
        "link",
        "rows/s",
        "efficiency",
        "a step",
        "fetched",
        "reads of a shard",
        "first step",
        "memory",
    )
    rows = [heads, ("---",) * len(heads)]
    alone = next(run["rows_per_second"] for run in record["runs"] if run["setting"]["nodes"] == 1)
    for run in record["runs"]:
        setting, rate = run["setting"], run["rows_per_second"]
        nodes = setting["nodes"]
        rows.append(
            (
                f"{nodes}",
                setting["split"] if nodes > 1 else "–",
                f"{setting['mbit']:g} Mbit/s",
                f"{rate:.1f}",
                f"{rate / (nodes * alone):.2f}",
                f"{run['step_seconds']:.2f} s",
                "–" if run["bytes_fetched"] is None else f"{run['bytes_fetched'] / 1e6:,.0f} MB",
                "–" if run["reads_of_a_shard"] is None else f"{run['reads_of_a_shard']:.2f}",
                f"{run['first_step_seconds']:.0f} s",
                f"{run['peak_memory'] / 1e9:.2f} GB",
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cost() -> str:
    constants = recorded_constants()
    costs = [
        Cost(Plan(device_rate=method.rate, parameters=method.parameters), constants).lines() for method in METHODS.values()
    ]
    rows = [f"| | {' | '.join(method.name for method in METHODS.values())} | |", "| --- | --- | --- | --- | --- |"]
    for lines in zip(*costs, strict=True):
        cells = " | ".join(f"{number(line.value)} {line.unit}".strip() for line in lines)
        rows.append(f"| {lines[0].what} | {cells} | {lines[0].how} |")
    return "\n".join(rows) + "\n"


def _limits() -> str:
    rows = ["| | needed | there is | load | what to do |", "| --- | --- | --- | --- | --- |"]
    for limit in Cost(Plan(), recorded_constants()).limits():
        cells = limit.what, f"{number(limit.needed)} {limit.unit}", number(limit.there), number(limit.load), limit.remedy
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"
