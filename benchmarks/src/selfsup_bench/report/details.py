"""The report's last parts: what failed, what was not run yet, and the circumstances."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from selfsup_bench.leaderboard.board import Leaderboard
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.report.parts import fold


def failed_cells(plan: Plan, records: Mapping[str, Record]) -> list[tuple[str, str]]:
    """(cell, error) of cells that were run and have no result."""
    found = ((cell.name, records.get(plan.key(cell))) for cell in plan.cells())
    return [(name, record.error) for name, record in found if record is not None and record.status == "failed"]


def pending_cells(plan: Plan, records: Mapping[str, Record]) -> list[str]:
    """Cells that were not run yet."""
    return [cell.name for cell in plan.cells() if plan.key(cell) not in records]


def notice(plan: Plan, records: Mapping[str, Record]) -> str:
    """What is lacking, on top of the page; empty where nothing is."""
    failed, pending, total = failed_cells(plan, records), pending_cells(plan, records), len(plan.cells())
    parts: list[str] = []
    if failed:
        word = "cell" if len(failed) == 1 else "cells"
        parts.append(f'<a href="#failures"><span aria-hidden="true">✕</span> {len(failed)} {word} failed</a>')
    if pending:
        parts.append(f'<a href="#failures">{total - len(pending)} of {total} cells are done</a>, the rest was not run yet')
    if not parts:
        return ""
    return f'<p class="notice">{"; ".join(parts)}. What lacks a cell has no score, and no aggregate is made of it.</p>'


def failure_section(plan: Plan, records: Mapping[str, Record]) -> str:
    """Cells without a result, each that failed with its error."""
    failed, pending = failed_cells(plan, records), pending_cells(plan, records)
    if not failed and not pending:
        return ""
    items = "".join(f"<h3>{escape(cell)}</h3><pre>{escape(error or 'no reason given')}</pre>" for cell, error in failed)
    names = "".join(f"<li>{escape(name)}</li>" for name in pending)
    rest = fold(f"Not run yet: {len(pending)}", f'<ul class="names">{names}</ul>') if pending else ""
    box = f'<div class="card fail">{items}</div>' if failed else ""
    return f'<section id="failures"><h2>Without a result: {len(failed) + len(pending)}</h2>{box}{rest}</section>'


def details_section(board: Leaderboard, records: Mapping[str, Record]) -> str:
    """Versions and data, for whoever wants to repeat it."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in circumstances(board, records).items())
    return (
        f'<section id="circumstances"><h2>Circumstances</h2><div class="card"><dl>{rows}</dl></div>'
        '<p class="soft small">samples/s is pretraining alone, measured while other cells may run beside it; memory is the '
        "peak of the cell's whole process, or of the accelerator where there is one. Probes choose their settings on a part of "
        "the training split, never on the test split.</p></section>"
    )


def circumstances(board: Leaderboard, records: Mapping[str, Record]) -> dict[str, str]:
    """Name to value of what determined the results: date, commit, device, versions, data, seeds, time; without empty ones."""
    done = [record for record in records.values() if record.status == "done"]
    versions: dict[str, set[str]] = {}
    for record in done:
        for name, version in record.circumstances.get("versions", {}).items():
            versions.setdefault(name, set()).add(str(version))
    data = {(record.cell.dataset, str(record.circumstances.get("data", ""))) for record in done}
    days = sorted({record.measured[:10] for record in done if record.measured})
    entries = {
        "date": " to ".join(dict.fromkeys([*days[:1], *days[-1:]])),
        "commit": ", ".join(sorted({record.commit for record in done if record.commit})),
        "versions": ", ".join(f"{name} {' / '.join(sorted(found))}" for name, found in sorted(versions.items())),
        "device": ", ".join(sorted({record.device for record in done})),
        "CPU threads a cell": ", ".join(sorted({str(record.circumstances.get("threads", "")) for record in done})),
        "data": ", ".join(f"{name} ({fingerprint[:12]})" for name, fingerprint in sorted(data)),
        "seeds": ", ".join(map(str, board.seeds)),
        "time of all cells": f"{sum(record.seconds.get('total', 0.0) for record in done):,.0f} s",
    }
    return {name: value for name, value in entries.items() if value}
