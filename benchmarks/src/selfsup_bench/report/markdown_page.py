"""A page of results as Markdown, written from the records alone: ``selfsup report DIR --format md``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from selfsup_bench.cells.cell import is_raw
from selfsup_bench.leaderboard.board import Leaderboard, Matrix, MatrixCell, Row, Table
from selfsup_bench.leaderboard.tables import (
    GAIN_NOTE,
    STATES,
    backbone_name,
    beside,
    gain_text,
    interval_note,
    metric_title,
    number,
    rank_text,
    shown_rows,
    speed,
)
from selfsup_bench.leaderboard.wording import change_text, interval_text, is_share
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.report.details import circumstances
from selfsup_bench.report.parts import data_name
from selfsup_bench.report.verdict_section import summary
from selfsup_bench.statistics.estimates import Estimate

WRITTEN_BY = "<!-- Written by `selfsup report DIR --format md` from the records of a benchmark. Do not edit. -->"


def render_markdown(board: Leaderboard, plan: Plan, records: Mapping[str, Record]) -> str:
    """The page: how it was measured, an overview, the matrix of methods and modalities, and a table for each data set.

    Args:
        board: what is shown.
        plan: of the benchmark.
        records: by key; any may be missing.
    """
    chosen = f" Left out: {', '.join(f'`{name}`' for name in plan.not_chosen)}." if plan.not_chosen else ""
    command = f"Command: `selfsup benchmark --suite {board.suite} --seeds {len(board.seeds)}`.{chosen}"
    advice = board.recommendation
    failures = "\n".join(f"- {cell}: {_line(error)}" for cell, error in board.failures)
    blocks = [
        f"# Results of the suite {board.suite}",
        WRITTEN_BY,
        command if advice is None else "\n".join([advice.sentence, "", *(f"- {line}" for line in advice.evidence)]),
        _table(("circumstance", "value"), circumstances(board, records).items()),
        *([f"## Overview\n\n{summary(board)}", _overview(board.tables)] if len(board.tables) > 1 else []),
        *(["## Gain % of methods across modalities", _matrix(board.matrix)] if len(board.matrix.modalities) > 1 else []),
        *(block for table in board.tables for block in (f"## {data_name(table)}", table.verdict.sentence, markdown(table))),
        "## Notes",
        f"{interval_note(board)}\n\n{GAIN_NOTE}",
        *(["## Cells without a result", failures] if failures else []),
    ]
    return "\n\n".join(blocks) + "\n"


def markdown(table: Table) -> str:
    """The rows of a data set, the best first; references in italics."""
    second, texts = beside(table)
    score = metric_title(table.headline, table.labelled)
    titles = ["method", "backbone", score, *([second] if second else []), "gain", "rank", "samples/s"]
    rows = [
        [
            row.name if row.kind == "task" else f"*{row.name}*",
            backbone_name(row),
            number(row.score, share=is_share(table.headline)),
            *([texts[row.key]] if second else []),
            gain_text(row),
            rank_text(row),
            speed(row),
        ]
        for row in shown_rows(table)
    ]
    return _table(titles, rows)


def _overview(tables: Sequence[Table]) -> str:
    """A row for each data set: the best task, the references on its network, the difference and the verdict."""
    titles = ("data set", "best task", "from scratch", "raw input", "random init", "difference (95 % interval)", "verdict")
    return _table(titles, (_overview_row(table) for table in tables))


def _overview_row(table: Table) -> list[str]:
    share = is_share(table.headline)
    best = next((row for row in table.rows if row.key == table.verdict.best), None)

    def scored(rows: Iterable[Row], *, named: bool) -> str:
        return ", ".join(f"{row.name} " * named + number(row.score, share=share) for row in rows) or "–"

    def on_network(kind: str) -> list[Row]:
        return [row for row in table.rows if row.kind == kind and (best is None or row.backbone == best.backbone)]

    difference = table.verdict.difference
    changed = "–"
    if difference is not None:
        interval = interval_text(difference, table.headline).removeprefix("95 % interval ")
        changed = change_text(difference, table.headline) + f" ({interval})" * bool(interval)
    return [
        f"{data_name(table)} ({table.modality})",
        scored([best] if best else [], named=True),
        scored(on_network("scratch"), named=False),
        scored([row for row in table.rows if is_raw(row.kind)], named=True),
        scored(on_network("random-init"), named=False),
        changed,
        STATES[table.verdict.state],
    ]


def _matrix(matrix: Matrix) -> str:
    rows = [
        [row.name, *(_gain_of(row.cells.get(modality)) for modality in matrix.modalities), _gain(row.mean, unclear=row.unclear)]
        for row in matrix.rows
    ]
    return _table(["method", *matrix.modalities, "mean"], rows)


def _gain_of(cell: MatrixCell | None) -> str:
    if cell is None:
        return ""
    names = {"failed": "failed", "missing": "not run"}
    return names[cell.state] if cell.state in names else _gain(cell.gain, unclear=cell.state == "unclear")


def _gain(gain: Estimate | None, *, unclear: bool) -> str:
    return "unclear" if unclear else number(gain, share=True) if gain is not None else ""


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = [_line(title) for title in titles]
    lines = [head, ["---"] * len(head), *([_line(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(text: str) -> str:
    """The first line of a text, for a cell of a table."""
    return text.partition("\n")[0].replace("|", r"\|")
