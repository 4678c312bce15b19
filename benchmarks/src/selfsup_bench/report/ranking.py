"""The ranked table of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from selfsup_bench.leaderboard.board import Comparison, Row, Table
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.rows import INCOMPLETE
from selfsup_bench.leaderboard.tables import (
    GAIN_NOTE,
    backbone_name,
    memory,
    metric_title,
    rank_text,
    second_metric,
    shown_rows,
    speed,
)
from selfsup_bench.leaderboard.wording import change_text, interval_text, is_share
from selfsup_bench.report.charts import interval_strip, strip_axis
from selfsup_bench.report.parts import data_name, networks, number_html, plain, score_title, scroll_box, value_of
from selfsup_bench.statistics.estimates import direction

_SIGNS = {
    "better": ("good", "▲", "surely better than"),
    "worse": ("bad", "▼", "surely worse than"),
    "unclear": ("idle", "≈", "not surely different from"),
}


def ranking_section(table: Table, palette: Mapping[str, str], note: str) -> str:
    """The ranked table, each row with its score drawn on a common axis; sortable where scripts run.

    Args:
        table: of one data set.
        palette: CSS class of each benchmark.
        note: what the numbers after ± are.
    """
    share = is_share(table.headline)
    low, high = _range(table)
    beside = _beside(table)
    head = [
        _head("rank", "Interval of the rank among the methods, 95 %", left=True, first="up"),
        _head("method", left=True, first="up"),
        f'<th class="l" scope="col"><span class="vh">picture</span>{strip_axis(low, high, 100 if share else 1)}</th>',
        _head(score_title(table), initial=True),
        _head(beside[0]) if beside else "",
        _head("gain %", GAIN_NOTE),
        _head("against the references", left=True) if any(row.comparisons for row in table.rows) else "",
        _head("samples/s", "In pretraining"),
        _head("memory MB", "The peak of the whole process, or of the accelerator"),
    ]
    rows = [_row(row, table, (low, high), palette.get(row.benchmark, "cn"), beside) for row in shown_rows(table)]
    content = (
        f'<table data-sortable class="ranking"><caption class="vh">Ranking on {escape(data_name(table))}</caption>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    notes = "".join(
        f"<li>{escape(row.name)}: no gain, {escape(row.note)}</li>"
        for row in table.rows
        # Missing cells are named once, at the top of the page.
        if row.note not in ("", INCOMPLETE) and row.kind == "task"
    )
    return (
        "<h3>Ranking</h3>"
        '<p class="soft">Open dots are references, dashed lines the untrained network and training from scratch. '
        "▲ surely better, ▼ surely worse (p &lt; 0.05 after Holm's correction for all comparisons of this table), ≈ not sure."
        "</p>"
        f"{scroll_box(f'Ranking on {data_name(table)}', content)}"
        + (f'<ul class="soft">{notes}</ul>' if notes else "")
        + f'<p class="soft small">{escape(note)} {escape(GAIN_NOTE)}</p>'
    )


def _head(name: str, hint: str = "", *, left: bool = False, first: str = "", initial: bool = False) -> str:
    attributes = f' class="{"l" if left else "r"}" scope="col" data-sort="{"initial" if initial else "yes"}"'
    attributes += f' data-first="{first}"' if first else ""
    attributes += f' title="{escape(hint)}"' if hint else ""
    return f"<th{attributes}>{escape(name)}</th>"


def _beside(table: Table) -> tuple[str, str] | None:
    """Title and metric of the column beside the headline; an empty metric stands for all labels."""
    if Headline(table.headline).amount:
        return f"all labels{' %' * is_share(table.headline)}", ""
    second = second_metric(table)
    return (f"{metric_title(second)}{' %' * is_share(second)}", second) if second else None


def _row(row: Row, table: Table, ends: tuple[float, float], colour: str, beside: tuple[str, str] | None) -> str:
    share = is_share(table.headline)
    task = row.kind == "task"
    label = f"{row.name}: {plain(row.score, share=share)}"
    strip = interval_strip(row.score, *ends, marks=_marks(row, table), colour=colour, label=label, hollow=not task)
    place = "" if row.rank is None else f"{row.rank[0] + row.rank[1] / 1000:g}"
    network = f'<span class="sub">{escape(backbone_name(row))}</span>' if row.backbone and len(networks(table)) > 1 else ""
    cells = [
        f'<td class="l" data-v="{place}">{escape(rank_text(row)).replace("-", "–")}</td>',
        f'<th scope="row" class="l" data-v="{escape(row.name)}">{escape(row.name)}{network}</th>',
        f'<td class="l">{strip}</td>',
        f'<td class="score" data-v="{value_of(row.score)}">{number_html(row.score, share=share)}</td>',
    ]
    if beside:
        estimate = row.metrics.get(beside[1]) if beside[1] else row.all_labels
        beside_share = is_share(beside[1] or table.headline)
        cells.append(f'<td data-v="{value_of(estimate)}">{number_html(estimate, share=beside_share)}</td>')
    cells.append(_gain(row))
    if any(other.comparisons for other in table.rows):
        cells.append(_comparisons(row, table.headline))
    cells.append(f'<td data-v="{row.samples_per_second or ""}">{speed(row)}</td>')
    cells.append(f'<td data-v="{row.peak_memory or ""}">{memory(row)}</td>')
    return f'<tr class="{"task" if task else "ref"}">{"".join(cells)}</tr>'


def _gain(row: Row) -> str:
    if row.kind != "task":
        return '<td data-v=""></td>'
    if row.unclear:
        return f'<td data-v="" title="{escape(plain(row.gain, share=True))}">unclear</td>'
    return f'<td data-v="{value_of(row.gain)}">{number_html(row.gain, share=True)}</td>'


def _comparisons(row: Row, headline: str) -> str:
    """Chips, sorted by the difference from the hardest reference."""
    if not row.comparisons:
        return '<td class="l" data-v=""></td>'
    sign = direction(headline)
    ordered = sorted(row.comparisons, key=lambda comparison: sign * comparison.difference.mean)
    hardest = sign * ordered[0].difference.mean
    return f'<td class="l chips" data-v="{hardest:.6g}">{"".join(_chip(item, headline) for item in ordered)}</td>'


def _chip(comparison: Comparison, headline: str) -> str:
    colour, sign, words = _SIGNS[comparison.verdict]
    details = [change_text(comparison.difference, headline), interval_text(comparison.difference, headline)]
    if comparison.p_holm is not None:
        details.append("p < 0.001" if comparison.p_holm < 0.001 else f"p = {comparison.p_holm:.3f}")
    tip = "; ".join(part for part in details if part)
    change = change_text(comparison.difference, headline).removesuffix(" points").replace("-", "−")
    tip = escape(f"{words} {comparison.name}: {tip}")
    return (
        f'<span class="chip {colour}" title="{tip}"><span aria-hidden="true">{sign}</span>'
        f'<span class="vh">{words}</span> {escape(comparison.name)} <b>{escape(change)}</b></span>'
    )


def _marks(row: Row, table: Table) -> dict[str, float]:
    """Means of the references of this row's network."""
    if row.kind != "task":
        return {}
    return {
        other.name: other.score.mean
        for other in table.rows
        if other.kind in ("random-init", "scratch") and other.backbone == row.backbone and other.score is not None
    }


def _range(table: Table) -> tuple[float, float]:
    """Ends of the common axis: all means, and the intervals as far as they do not squeeze the means together."""
    means = [row.score.mean for row in table.rows if row.score is not None]
    if not means:
        return 0.0, 1.0
    spread = max(means) - min(means) or abs(means[0]) * 0.1 or 1.0
    low, high = min(means) - 0.12 * spread, max(means) + 0.12 * spread
    return (max(0.0, low), min(1.0, high)) if is_share(table.headline) else (low, high)
