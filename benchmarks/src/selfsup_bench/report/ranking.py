"""The report's first part: tiles with what is most worth knowing, and the ranking of each data set."""

from __future__ import annotations

from html import escape

from selfsup_bench.leaderboard import Leaderboard, Row, Table
from selfsup_bench.report.charts import CLASS_COLOURS, interval_strip, strip_axis
from selfsup_bench.statistics import Estimate
from selfsup_bench.tables import backbone_name, is_share, memory, metric_title, row_name, second_metric, speed


def colours(table: Table) -> dict[str, str]:
    """CSS class of each benchmark, in the plan's order by name so that ranks do not change colours; references are grey."""
    benchmarks = sorted(row.benchmark for row in table.rows if row.kind == "task")
    return {name: f"c{index}" if index < CLASS_COLOURS else "cn" for index, name in enumerate(benchmarks)}


def tiles(board: Leaderboard) -> str:
    """A tile a data set: its best task, that one's score and its gain."""
    parts = [_tile(table) for table in board.tables]
    return f'<div class="tiles">{"".join(parts)}</div>' if any(parts) else ""


def _tile(table: Table) -> str:
    """Empty where no task has a score."""
    best = next((row for row in table.rows if row.kind == "task" and row.score is not None), None)
    if best is None or best.score is None:
        return ""
    share = is_share(table.headline)
    factor, unit = (100, " %") if share else (1, "")
    facts = [(f"{best.score.mean * factor:.1f}{unit}", metric_title(table.headline))]
    if best.gain is not None:
        facts.append((f"{best.gain.mean * 100:.0f} %", "of the way to supervised"))
    untrained = next((row for row in table.rows if row.kind == "random-init" and row.backbone == best.backbone), None)
    if untrained is not None and untrained.score is not None:
        difference = (best.score.mean - untrained.score.mean) * factor
        facts.append((f"{difference:+.1f}", f"{'points ' * share}over untrained"))
    lines = "".join(f"<dt>{escape(value)}</dt><dd>{escape(label)}</dd>" for value, label in facts)
    return (
        f'<div class="tile"><span>best on {escape(table.dataset)}</span><b>{escape(row_name(best))}</b><dl>{lines}</dl></div>'
    )


def ranking_section(table: Table) -> str:
    """The ranked table of one data set, each row with its score drawn on a common axis."""
    share = is_share(table.headline)
    second = second_metric(table)
    low, high = _range(table)
    palette = colours(table)
    head = [
        '<th class="l">#</th><th class="l">task</th>',
        f'<th class="l">{strip_axis(low, high, 100 if share else 1)}</th>',
        f"<th>{escape(metric_title(table.headline))}{' %' * share}</th><th>gain %</th>",
        f"<th>{escape(metric_title(second))}{' %' * is_share(second)}</th>" if second else "",
        "<th>samples/s</th><th>memory MB</th>",
    ]
    rows: list[str] = []
    rank = 0
    for row in table.rows:
        rank += row.kind == "task" and row.score is not None
        rows.append(_row(row, rank, table, low, high, palette.get(row.benchmark, "cn"), second))
    return (
        f"<section><h2>Leaderboard: {escape(table.dataset)}</h2>"
        f'<p class="soft">Ranked by {escape(metric_title(table.headline))}. Dashed lines: the untrained network, and the same '
        "network trained with all labels. Open dots are references.</p>"
        f'<div class="card scroll"><table><thead><tr>{"".join(head)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _row(row: Row, rank: int, table: Table, low: float, high: float, colour: str, second: str) -> str:
    share = is_share(table.headline)
    task = row.kind == "task"
    place = str(rank) if task and row.score is not None else ""
    flag = "".join(f'<span class="flag">{escape(note)}</span>' for note in row.note.split("; ") if note.endswith("is better"))
    label = f"{row_name(row)}, {backbone_name(row)}: {_plain(row.score, share)}"
    strip = interval_strip(row.score, low, high, marks=_marks(row, table), colour=colour, label=label, hollow=not task)
    cells = [
        f'<td class="l">{place}</td>',
        f'<td class="l">{escape(row_name(row))}<span class="sub">{escape(backbone_name(row))}</span>{flag}</td>',
        f'<td class="l">{strip}</td>',
        f'<td class="score">{_html(row.score, share)}</td>',
        f"<td>{_html(row.gain, True) if task else ''}</td>",
    ]
    if second:
        cells.append(f"<td>{_html(row.metrics.get(second), is_share(second))}</td>")
    cells.extend([f"<td>{speed(row)}</td>", f"<td>{memory(row)}</td>"])
    return f'<tr class="{"task" if task else "ref"}">{"".join(cells)}</tr>'


def _marks(row: Row, table: Table) -> dict[str, float]:
    """Means of the references of this row's backbone."""
    if row.kind != "task":
        return {}
    return {
        row_name(other): other.score.mean
        for other in table.rows
        if other.kind in ("random-init", "supervised") and other.backbone == row.backbone and other.score is not None
    }


def _range(table: Table) -> tuple[float, float]:
    """Ends of the common axis: all means, and the intervals as far as they do not squeeze the means together."""
    means = [row.score.mean for row in table.rows if row.score is not None]
    if not means:
        return 0.0, 1.0
    spread = max(means) - min(means) or abs(means[0]) * 0.1 or 1.0
    low, high = min(means) - 0.12 * spread, max(means) + 0.12 * spread
    return (max(0.0, low), min(1.0, high)) if is_share(table.headline) else (low, high)


def _html(estimate: Estimate | None, share: bool) -> str:
    if estimate is None:
        return "–"
    factor, digits = (100.0, 1) if share else (1.0, 2)
    text = f"{estimate.mean * factor:.{digits}f}"
    if estimate.interval is not None:
        text += f' <span class="pm">± {estimate.interval.half_width * factor:.{digits}f}</span>'
    return text


def _plain(estimate: Estimate | None, share: bool) -> str:
    if estimate is None:
        return "no result"
    factor = 100.0 if share else 1.0
    text = f"{estimate.mean * factor:.2f}{' %' * share}"
    if estimate.interval is not None:
        text += f", 95 % interval {estimate.interval.low * factor:.2f} to {estimate.interval.high * factor:.2f}"
    return text
