"""Pieces of HTML that the report's sections share: numbers, badges, colours of methods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from selfsup_bench.leaderboard.board import Row, Table
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.tables import metric_title
from selfsup_bench.leaderboard.wording import is_share, labels_text, metric_name
from selfsup_bench.report.palette import CLASS_COLOURS
from selfsup_bench.statistics.estimates import Estimate

STATES = {
    "pays": ("good", "✓", "pretraining pays"),
    "unclear": ("warn", "≈", "unclear"),
    "does-not-pay": ("bad", "✕", "does not pay"),
    "incomplete": ("idle", "…", "incomplete"),
    "pretrain": ("good", "✓", "pretrain"),
    "do-not-pretrain": ("bad", "✕", "do not pretrain"),
}
"""Colour, sign and word of each verdict and recommendation: colour is never the only sign."""


def words(text: str) -> str:
    """Escaped text whose numbers keep their sign of per cent beside them, with a true minus."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", escape(text).replace(" %", "\u00a0%"))


def badge(state: str) -> str:
    """The state of a verdict."""
    colour, sign, word = STATES[state]
    return f'<span class="badge {colour}"><span aria-hidden="true">{sign}</span> {word}</span>'


def table_id(table: Table, tables: tuple[Table, ...]) -> str:
    """What the page's links call a data set's section."""
    return f"data-{tables.index(table) + 1}"


def data_name(table: Table) -> str:
    """What people call a table's data set; with its metric where the benchmark has the same data with several."""
    return table.dataset or table.modality


def colours(table: Table, methods: Sequence[str]) -> dict[str, str]:
    """CSS class of each benchmark of a table.

    A method has one colour on the whole page; where there are more methods than colours, the best ones of a table have them.

    Args:
        table: whose benchmarks are coloured.
        methods: all of the page, in the order of the matrix.
    """
    rows = [row for row in table.rows if row.kind == "task"]
    order = list(methods) if len(methods) <= CLASS_COLOURS else [_method(row) for row in rows]
    if len({_method(row) for row in rows}) < len(rows):
        # One method with several networks: each has a colour.
        names = sorted(row.benchmark for row in rows)
        return {name: f"c{place}" if place < CLASS_COLOURS else "cn" for place, name in enumerate(names)}
    known = {method: f"c{place}" for place, method in enumerate(order[:CLASS_COLOURS])}
    return {row.benchmark: known.get(_method(row), "cn") for row in rows}


def _method(row: Row) -> str:
    return row.task.partition("/")[2]


def score_title(table: Table) -> str:
    """The headline metric as a column's head: ``10 labels a class, accuracy %``."""
    head = Headline(table.headline)
    unit = " %" * is_share(table.headline)
    return (
        f"{labels_text(head, table.labelled).removeprefix('With ')}, {metric_name(head.metric)}{unit}"
        if head.amount
        else f"{metric_title(table.headline)}{unit}"
    )


def number_html(estimate: Estimate | None, *, share: bool) -> str:
    """Mean ± half the 95 % interval, in per cent for shares."""
    if estimate is None:
        return '<span class="pm">–</span>'
    factor, digits = (100.0, 1) if share else (1.0, 2)
    text = f"{estimate.mean * factor:.{digits}f}".replace("-", "−")
    if estimate.interval is not None:
        text += f' <span class="pm">± {estimate.interval.half_width * factor:.{digits}f}</span>'
    return text


def plain(estimate: Estimate | None, *, share: bool) -> str:
    """The same in words, for tooltips and screen readers."""
    if estimate is None:
        return "no result"
    factor = 100.0 if share else 1.0
    text = f"{estimate.mean * factor:.2f}{' %' * share}"
    if estimate.interval is not None:
        text += f", 95 % interval {estimate.interval.low * factor:.2f} to {estimate.interval.high * factor:.2f}"
    return text


def value_of(estimate: Estimate | None) -> str:
    """The attribute that tables are sorted by; empty where there is no value."""
    return "" if estimate is None else f"{estimate.mean:.6g}"


def scroll_box(label: str, content: str) -> str:
    """A box that scrolls sideways, also by keyboard, if its content is wider than the screen."""
    return f'<div class="card scroll" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>'


def fold(summary: str, content: str, *, heading: bool = False) -> str:
    """Content that is folded away on screens; paper shows it all.

    Args:
        summary: what is always shown.
        content: HTML.
        heading: whether the summary is a heading of the third rank.
    """
    shown = f"<h3>{escape(summary)}</h3>" if heading else escape(summary)
    return f"<details><summary>{shown}</summary>{content}</details>"


def networks(table: Table) -> list[str]:
    """The networks of a table's rows, without their modality."""
    return sorted({row.backbone.split("/", 1)[-1] for row in table.rows if row.backbone})
