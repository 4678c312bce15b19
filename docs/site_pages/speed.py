"""Tables of speed, from the records that ``python -m speed`` keeps in ``results/speed/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from site_pages.markdown import code, save, table, text

RECORDS = Path(__file__).parents[1] / "results" / "speed"
TITLES = {
    "vision": "Images",
    "text": "Texts",
    "tabular": "Tables",
    "audio": "Recordings",
    "video": "Videos",
    "multimodal": "Pairs of images and texts",
}
"""Modality to the title of its section."""
_SIGNS = {">=": "≥", "<=": "≤"}


def write(out: Path) -> None:
    """Write ``fragments/speed.md``, a section for each modality that has records."""
    held = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in RECORDS.glob("*.json")}
    blocks = [f"## {title}\n\n{tables(held[name]['figures'])}" for name, title in TITLES.items() if name in held]
    save(out / "fragments" / "speed.md", *blocks)


def tables(figures: list[Mapping[str, Any]]) -> str:
    """A table for each measurement (one device, commit and date), in the order of the records."""
    blocks: list[str] = []
    for where, own in groupby(figures, key=lambda figure: measurement(figure["measured"])):
        measured = list(own)
        commands = dict.fromkeys(figure["measured"]["command"] for figure in measured)
        blocks += [
            f"{where}: {', '.join(code(command) for command in commands)}",
            table(("figure", "ours", "theirs", "", "goal", ""), (_row(figure) for figure in measured)),
        ]
    return "\n\n".join(block.strip("\n") for block in blocks)


def measurement(measured: Mapping[str, Any]) -> str:
    """Where and when figures were measured, in words."""
    device = measured["device"].partition(" (")[2].rstrip(")") or measured["device"]
    cores = f", {measured['cores']} core{'s' if measured['cores'] > 1 else ''}"
    torch = f", torch {measured['torch']}" if measured["torch"] else ""
    when = f"commit {code(measured['commit'])}, {measured['date']}" if measured["commit"] else "commit not recorded"
    return f"{text(device)}{cores}{torch}, {when}"


def amount(value: float) -> str:
    """A number with four digits that count."""
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:g}"


def _row(figure: Mapping[str, Any]) -> list[str]:
    unit = figure["unit"]
    compared = figure["theirs"] is not None
    is_ratio = compared and not figure.get("goal_of_ours", False)
    reached = "reached" if figure["reached"] else "**not reached**"
    spread = f"; {text(figure['spread'])}" if figure["spread"] else ""
    note = f"; {text(figure['note'])}" if figure["note"] else ""
    return [
        f"{code(figure['name'])}: {text(figure['what'])}",
        f"{amount(figure['ours'])} {unit}",
        f"{amount(figure['theirs'])} {unit}" if compared else "–",
        f"{figure['value']:.3g}×" if is_ratio else "",
        f"{_SIGNS[figure['compare']]} {figure['goal']:,g}{'' if is_ratio else f' {unit}'}",
        f"{reached}{spread}{note}",
    ]
