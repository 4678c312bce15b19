"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from selfsup_bench.leaderboard import Leaderboard
from selfsup_bench.plan import Plan
from selfsup_bench.records import Record
from selfsup_bench.report.ranking import ranking_section, tiles
from selfsup_bench.report.sections import details_section, embedding_section, failure_section, label_section, loss_section
from selfsup_bench.report.style import style_sheet
from selfsup_bench.tables import GAIN_NOTE, interval_note

# Nothing may be fetched: what is not in the page is refused by the browser itself.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(board: Leaderboard, plan: Plan, records: Mapping[str, Record]) -> str:
    """The page as text: leaderboard, label efficiency, embeddings before and after, loss curves, circumstances."""
    runs = len({plan.key(cell) for cell in plan.cells()})
    body = [
        "<header>",
        "<h1>selfsup benchmark</h1>",
        f'<p class="soft">Suite <b>{escape(board.suite)}</b> · {_count(len(board.seeds), "seed")} · {_count(runs, "cell")} · '
        f"{escape(devices(records))}</p>",
        "</header>",
        tiles(board),
        failure_section(board),
        *(ranking_section(table) for table in board.tables),
        f'<p class="soft">{escape(interval_note(board))} {escape(GAIN_NOTE)}</p>',
        *(label_section(table) for table in board.tables),
        *(embedding_section(table, plan, records) for table in board.tables),
        *(loss_section(table, plan, records) for table in board.tables),
        details_section(board, records),
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<link rel="icon" href="data:,">',
            f"<title>selfsup benchmark · {escape(board.suite)}</title>",
            f"<style>{style_sheet()}</style>",
            "</head>",
            "<body><main>",
            *body,
            "</main></body>",
            "</html>\n",
        ]
    )


def devices(records: Mapping[str, Record]) -> str:
    """The devices that the records were made on."""
    return ", ".join(sorted({record.device for record in records.values() if record.device})) or "no device yet"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
