"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from selfsup_bench.cells.previews import Previews
from selfsup_bench.leaderboard.board import Leaderboard, Table
from selfsup_bench.leaderboard.tables import interval_note
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.report.curves import label_section, loss_section, metrics_section
from selfsup_bench.report.details import details_section, failure_section, notice
from selfsup_bench.report.embeddings import embedding_section
from selfsup_bench.report.matrix_section import matrix_section
from selfsup_bench.report.parts import badge, colours, data_name, networks, table_id
from selfsup_bench.report.ranking import ranking_section
from selfsup_bench.report.style import content_policy, script, style_sheet
from selfsup_bench.report.verdict_section import recommendation_section, verdict_section


def render(
    board: Leaderboard, plan: Plan, records: Mapping[str, Record], previews: Mapping[str, Previews] | None = None
) -> str:
    """The page as text: recommendation, verdicts, matrix, then each data set, what failed, and the circumstances.

    Args:
        board: what is shown.
        plan: of the benchmark.
        records: by key; any may be missing.
        previews: what points of embeddings are, by name (:func:`selfsup_bench.cells.previews.read_previews`).
    """
    matrix = matrix_section(board)
    shown: set[str] = set()
    sections = [
        _data_section(table, board, plan, embedding_section(table, plan, records, previews or {}, shown), records)
        for table in board.tables
    ]
    body = [
        "<header>",
        "<h1>selfsup benchmark</h1>",
        f'<p class="soft">Suite <b>{escape(board.suite)}</b> · {_count(len(board.seeds), "seed")} · '
        f"{_count(len({plan.key(cell) for cell in plan.cells()}), 'cell')} · {escape(devices(records))}</p>",
        "</header>",
        _navigation(board, bool(matrix)),
        "<main>",
        notice(plan, records),
        recommendation_section(board.recommendation),
        verdict_section(board),
        matrix,
        *sections,
        failure_section(plan, records),
        details_section(board, records),
        "</main>",
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(content_policy())}">',
            '<link rel="icon" href="data:,">',
            f"<title>selfsup benchmark · {escape(board.suite)}</title>",
            f"<style>{style_sheet()}</style>",
            "</head>",
            "<body>",
            *body,
            f"<script>{script()}</script>",
            "</body>",
            "</html>\n",
        ]
    )


def devices(records: Mapping[str, Record]) -> str:
    """The devices that the records were made on."""
    return ", ".join(sorted({record.device for record in records.values() if record.device})) or "no device yet"


def _navigation(board: Leaderboard, matrix: bool) -> str:
    links = [("verdicts", "Verdicts")] if board.tables else []
    links += [("matrix", "Matrix")] if matrix else []
    links += [(table_id(table, board.tables), data_name(table)) for table in board.tables]
    links += [("circumstances", "Circumstances")]
    items = "".join(f'<li><a href="#{id_}">{escape(name)}</a></li>' for id_, name in links)
    return f'<nav aria-label="On this page"><ul>{items}</ul></nav>'


def _data_section(table: Table, board: Leaderboard, plan: Plan, embeddings: str, records: Mapping[str, Record]) -> str:
    palette = colours(table, [row.method for row in board.matrix.rows])
    return (
        f'<section id="{table_id(table, board.tables)}" class="data"><h2>{escape(data_name(table))} '
        f'<span class="pill">{escape(table.modality)}</span></h2>'
        f'<p class="state">{badge(table.verdict.state)} <span class="soft">{escape(", ".join(networks(table)))}</span></p>'
        f"{ranking_section(table, palette, interval_note(board))}{label_section(table, palette)}{embeddings}"
        f"{loss_section(table, palette, plan, records)}{metrics_section(table)}</section>"
    )


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
