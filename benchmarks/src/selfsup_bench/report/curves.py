"""Lines of the report: scores over the number of labels, and losses over steps; and all metrics as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from selfsup_bench.leaderboard.board import Row, Table
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.wording import is_share, metric_name
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.report.charts import Series, line_chart
from selfsup_bench.report.parts import data_name, fold, number_html, scroll_box, value_of
from selfsup_bench.statistics.estimates import Estimate

LABEL_METRIC = re.compile(r"label-efficiency\.(accuracy|map|r2)_([\d.]+)pct")
"""Metrics of label efficiency, and the share of labels in per cent."""


def label_section(table: Table, palette: Mapping[str, str]) -> str:
    """Scores over the labels a class; where there are none of these, over the share of labels."""
    head = Headline(table.headline)
    counts = {float(count) for row in table.rows for count in row.curve}
    if len(counts) > 1:
        points = {row.key: {float(count): value for count, value in row.curve.items()} for row in table.rows}
        what = "labels a class" if head.metric not in ("r2", "rmse", "mae") else "labels in each group of numbers"
        return _lines(table, palette, points, head.metric, what=what)
    shares = {row.key: _shares(row) for row in table.rows}
    metrics = {match[1] for row in table.rows for name in row.metrics if (match := LABEL_METRIC.fullmatch(name))}
    return _lines(table, palette, shares, min(metrics), what="share of the labels", unit=" %") if metrics else ""


def _shares(row: Row) -> dict[float, Estimate]:
    found = ((LABEL_METRIC.fullmatch(name), value) for name, value in row.metrics.items())
    return {float(match[2]): value for match, value in found if match}


def _lines(
    table: Table,
    palette: Mapping[str, str],
    points: Mapping[str, Mapping[float, Estimate]],
    metric: str,
    *,
    what: str,
    unit: str = "",
) -> str:
    factor = 100.0 if is_share(metric) else 1.0
    series = [
        Series(
            row.name,
            [(count, factor * value.mean) for count, value in sorted(points[row.key].items())],
            palette.get(row.benchmark, "cn"),
            dashed=row.kind != "task",
            spans={
                count: (factor * value.interval.low, factor * value.interval.high)
                for count, value in points[row.key].items()
                if value.interval is not None and row.kind == "task"
            },
        )
        for row in table.rows
        if points[row.key]
    ]
    name = metric_name(metric)
    chart = line_chart(
        series,
        label=f"{name} over {what} on {data_name(table)}",
        x_title=what,
        y_title=f"{name}{' %' * (factor > 1)}",
        width=860,
        height=max(320.0, 60.0 + 15 * len(series)),
        log_x=True,
        x_ticks={count: f"{count:g}{unit}" for count in sorted({count for each in points.values() for count in each})},
        dots_on=True,
        names=True,
    )
    return (
        '<h3>Over the number of labels</h3><p class="soft">Means, with 95 % intervals as bars. References are dashed.</p>'
        + scroll_box(f"{name} over {what} on {data_name(table)}", f'<div class="wide">{chart}</div>')
    )


def loss_section(table: Table, palette: Mapping[str, str], plan: Plan, records: Mapping[str, Record]) -> str:
    """The pretraining loss of each task, a line a seed. Losses of different tasks cannot be compared: each has its own axis."""
    cards: list[str] = []
    for row in table.rows:
        if row.kind not in ("task", "supervised"):
            continue
        curves = {seed: records[key].curve for seed, key in zip(plan.seeds, row.keys, strict=False) if key in records}
        series = [
            Series(f"seed {seed}", [(float(step), loss) for step, loss in curve], palette.get(row.benchmark, "cn"))
            for seed, curve in curves.items()
            if curve
        ]
        if series:
            chart = line_chart(series, label=f"Loss of {row.name}", x_title="step", y_title="loss")
            cards.append(f'<figure class="card">{chart}<figcaption>{escape(row.name)}</figcaption></figure>')
    if not cards:
        return ""
    note = "One line a seed. Each method has a different loss: heights cannot be compared between charts."
    return fold("Loss curves", f'<p class="soft">{note}</p><div class="grid">{"".join(cards)}</div>', heading=True)


def metrics_section(table: Table) -> str:
    """Every metric of every row."""
    names = sorted({name for row in table.rows for name in row.metrics if not name.endswith("_std")})
    if not names:
        return ""
    heads = "".join(f'<th class="r" scope="col" data-sort="yes">{escape(_metric(name))}</th>' for name in names)
    lines = "".join(
        f'<tr class="{"task" if row.kind == "task" else "ref"}"><th scope="row" class="l" data-v="{escape(row.name)}">'
        f"{escape(row.name)}</th>"
        + "".join(
            f'<td data-v="{value_of(row.metrics.get(name))}">{number_html(row.metrics.get(name), share=is_share(name))}</td>'
            for name in names
        )
        + "</tr>"
        for row in table.rows
    )
    content = (
        f'<table data-sortable class="all-metrics"><caption class="vh">All metrics on {escape(data_name(table))}</caption>'
        f'<thead><tr><th class="l" scope="col" data-sort="yes" data-first="up">method</th>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )
    few = Headline(table.headline).amount
    note = f" The 100 of the gain is {_metric(table.headline)} of supervised, which was trained with all labels." if few else ""
    return fold(
        "All metrics",
        f'<p class="soft">Shares in per cent.{note}</p>' + scroll_box(f"All metrics on {data_name(table)}", content),
        heading=True,
    )


def _metric(name: str) -> str:
    evaluator, _, rest = name.partition(".")
    return f"{evaluator} {metric_name(rest)}".replace("@", " @ ")
