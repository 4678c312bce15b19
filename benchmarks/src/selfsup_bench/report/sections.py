"""The report's further parts: label efficiency, embeddings, loss curves, failures, circumstances."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from selfsup_bench.leaderboard import Leaderboard, Row, Table
from selfsup_bench.plan import Plan
from selfsup_bench.records import Projection, Record
from selfsup_bench.report.charts import Series, line_chart, scatter
from selfsup_bench.report.ranking import colours
from selfsup_bench.tables import backbone_name, reference_name, row_name

LABEL_METRIC = re.compile(r"label-efficiency\.(accuracy|map|r2)_([\d.]+)pct")
"""Metrics of label efficiency, and the share of labels in per cent."""
_TITLES = {"accuracy": "accuracy", "map": "mAP", "r2": "R²"}


def label_section(table: Table) -> str:
    """Accuracy, mAP or R² over the share of labels, of every task and reference that has it."""
    palette = colours(table)
    shares: set[float] = set()
    title = ""
    series: list[Series] = []
    for row in table.rows:
        points = sorted(
            (float(match[2]), 100 * value.mean)
            for name, value in row.metrics.items()
            if (match := LABEL_METRIC.fullmatch(name))
        )
        if not points:
            continue
        title = next(_TITLES[match[1]] for name in row.metrics if (match := LABEL_METRIC.fullmatch(name)))
        shares.update(share for share, _ in points)
        colour = palette.get(row.benchmark, "cn")
        series.append(Series(_name(row), points, colour, backbone_name(row), dashed=row.kind != "task"))
    if not series:
        return ""
    chart = line_chart(
        series,
        label=f"{title} over the share of labels on {table.dataset}",
        x_title="labels used to fit the probe",
        y_title=f"{title} %",
        width=1100,
        height=max(340.0, 60.0 + 15 * len(series)),
        log_x=True,
        x_ticks={share: f"{share:g} %" for share in sorted(shares)},
        dots_on=True,
        names=True,
    )
    return (
        f"<section><h2>Label efficiency: {escape(table.dataset)}</h2>"
        f'<p class="soft">The {title} of a probe on the frozen embedding, fitted on a part of the labels. Mean over seeds; '
        f'references dashed.</p><div class="card scroll"><div class="wide">{chart}</div></div></section>'
    )


def _name(row: Row) -> str:
    if row.kind == "task":
        return row_name(row)
    short = {"random-init": "untrained", "boosting": "boosted trees"}.get(row.kind) or reference_name(row.kind)
    return f"{short} {backbone_name(row)}" if row.backbone else short


def embedding_section(table: Table, plan: Plan, records: Mapping[str, Record]) -> str:
    """Test embeddings of each task's first seed, before and after pretraining, next to each other; then the references."""
    pairs: list[str] = []
    legend: Projection | None = None
    for line in plan.lines:
        if (line.modality, line.spec.dataset, line.spec.headline) != (table.modality, table.dataset, table.headline):
            continue
        after = _projection(records, plan.key(line.cells["task"][0]))
        before = _projection(records, plan.key(line.cells["random-init"][0]))
        if after is None:
            continue
        legend = after
        task = line.spec.task.split("/", 1)[-1]
        panels = [(before, "before pretraining"), (after, "after pretraining")]
        figures = "".join(_figure(projection, f"{task}, {when}", when) for projection, when in panels if projection is not None)
        backbone = escape(line.backbone.split("/", 1)[-1])
        pairs.append(
            f'<div class="card"><h3>{escape(task)} <small>{backbone}</small></h3><div class="pair">{figures}</div></div>'
        )
    references = _reference_panels(table, records)
    if references:
        pairs.append(f'<div class="card"><h3>References</h3><div class="pair">{references}</div></div>')
    if legend is None:
        return ""
    return (
        f"<section><h2>Embeddings: {escape(table.dataset)}</h2>"
        f'<p class="soft">{len(legend.x):,} test samples, seed {plan.seeds[0]}, drawn in two dimensions with '
        f"{escape(legend.method)}, one colour a class. Neighbourhoods can be read off; distances between clusters cannot. "
        f'Labels were used for colouring only.</p>{_legend(legend)}<div class="pairs">{"".join(pairs)}</div></section>'
    )


def _reference_panels(table: Table, records: Mapping[str, Record]) -> str:
    figures: list[str] = []
    for row in table.rows:
        projection = _projection(records, row.keys[0]) if row.kind in ("supervised", "raw") and row.keys else None
        if projection is not None:
            name = _name(row)
            figures.append(_figure(projection, name, name))
    return "".join(figures)


def _figure(projection: Projection, label: str, caption: str) -> str:
    return f"<figure>{scatter(projection, label=label)}<figcaption>{escape(caption)}</figcaption></figure>"


def _projection(records: Mapping[str, Record], key: str) -> Projection | None:
    record = records.get(key)
    return record.projection if record is not None and record.status == "done" else None


def _legend(projection: Projection) -> str:
    classes = sorted(set(projection.labels))
    names = [projection.class_names[cls] if cls < len(projection.class_names) else str(cls) for cls in classes]
    items = (f'<li><i class="c{cls % 10}"></i>{escape(name)}</li>' for cls, name in zip(classes, names, strict=True))
    return f'<ul class="legend">{"".join(items)}</ul>'


def loss_section(table: Table, plan: Plan, records: Mapping[str, Record]) -> str:
    """The pretraining loss of each task, a line a seed. Losses of different tasks cannot be compared: each has its own axis."""
    palette = colours(table)
    cards: list[str] = []
    for row in table.rows:
        if row.kind not in ("task", "supervised"):
            continue
        curves = {seed: records[key].curve for seed, key in zip(plan.seeds, row.keys, strict=True) if key in records}
        series = [
            Series(f"seed {seed}", [(float(step), loss) for step, loss in curve], palette.get(row.benchmark, "cn"))
            for seed, curve in curves.items()
            if curve
        ]
        if series:
            name = _name(row)
            chart = line_chart(series, label=f"Loss of {name}", x_title="step", y_title="loss")
            sub = "" if row.kind != "task" else f" <small>{escape(backbone_name(row))}</small>"
            cards.append(f'<div class="card"><h3>{escape(name)}{sub}</h3>{chart}</div>')
    if not cards:
        return ""
    return (
        f"<section><h2>Loss curves: {escape(table.dataset)}</h2>"
        '<p class="soft">One line a seed. Each task has a loss of its own: heights cannot be compared between charts.</p>'
        f'<div class="grid">{"".join(cards)}</div></section>'
    )


def failure_section(board: Leaderboard) -> str:
    """Cells without a result, each with its error."""
    if not board.failures:
        return ""
    items = "".join(f"<h3>{escape(cell)}</h3><pre>{escape(error)}</pre>" for cell, error in board.failures)
    return (
        f'<section class="card fail"><h2>Without a result: {len(board.failures)}</h2>'
        f"<p>A row with a missing seed has no score, and no aggregate is made of it.</p>{items}</section>"
    )


def details_section(board: Leaderboard, records: Mapping[str, Record]) -> str:
    """Versions and data, for whoever wants to repeat it."""
    done = [record for record in records.values() if record.status == "done"]
    versions: dict[str, set[str]] = {}
    for record in done:
        for name, version in record.circumstances.get("versions", {}).items():
            versions.setdefault(name, set()).add(str(version))
    data = {(record.cell.dataset, str(record.circumstances.get("data", ""))) for record in done}
    entries = {
        "versions": ", ".join(f"{name} {' / '.join(sorted(found))}" for name, found in sorted(versions.items())),
        "device": ", ".join(sorted({record.device for record in done})),
        "CPU threads a cell": ", ".join(sorted({str(record.circumstances.get("threads", "")) for record in done})),
        "data": ", ".join(f"{name} ({fingerprint[:12]})" for name, fingerprint in sorted(data)),
        "seeds": ", ".join(map(str, board.seeds)),
        "time of all cells": f"{sum(record.seconds.get('total', 0.0) for record in done):,.0f} s",
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items() if value)
    return (
        f'<section><h2>Circumstances</h2><div class="card"><dl>{rows}</dl></div>'
        '<p class="soft">samples/s is pretraining alone, measured while other cells may run beside it; memory is the peak of '
        "the cell's whole process, or of the accelerator where there is one. Probes choose their settings on a part of the "
        "training split, never on the test split.</p></section>"
    )
