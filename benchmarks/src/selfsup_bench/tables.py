"""The leaderboard as tables for a terminal and as Markdown, and the words that both and the report share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfsup_bench.cells import Kind, is_supervised
from selfsup_bench.leaderboard import Leaderboard, Row, Table
from selfsup_bench.statistics import FEW_SEEDS, Estimate

if TYPE_CHECKING:
    from rich.console import Console

REFERENCE_NAMES = {
    "random-init": "random init",
    "scratch": "from scratch",
    "supervised": "supervised",
    "raw": "raw input",
    "boosting": "raw input, boosted trees",
}
PERCENT = ("accuracy", "f1", "nmi", "ari", "auroc", "map", "precision", "recall", "r@", "hit")


def metric_title(metric: str) -> str:
    """``knn.accuracy`` as a person reads it."""
    evaluator, _, name = metric.partition(".")
    return f"{evaluator} {name}".replace("_", " ").strip()


def is_share(metric: str) -> bool:
    """Whether a metric is a share of 1, shown in per cent."""
    name = metric.rpartition(".")[2].lower()
    return any(word in name for word in PERCENT)


def number(estimate: Estimate | None, *, share: bool) -> str:
    """Mean ± half the 95 % interval, in per cent for shares."""
    if estimate is None:
        return "–"
    factor, digits = (100.0, 1) if share else (1.0, 2)
    text = f"{estimate.mean * factor:.{digits}f}"
    if estimate.interval is not None:
        text += f" ± {estimate.interval.half_width * factor:.{digits}f}"
    return text


def row_name(row: Row) -> str:
    """The task without its modality, or what the reference is."""
    return row.task.split("/", 1)[-1] if row.kind == "task" else reference_name(row.kind)


def reference_name(kind: Kind) -> str:
    """What a reference is called in tables; the backbone has a column of its own."""
    if kind.startswith("raw-"):
        return f"raw input, {kind.removeprefix('raw-')}"
    return REFERENCE_NAMES["supervised" if is_supervised(kind) else kind]


def backbone_name(row: Row) -> str:
    """The backbone without its modality."""
    return row.backbone.split("/", 1)[-1] or "–"


def speed(row: Row) -> str:
    """Samples a second in pretraining."""
    return "–" if row.samples_per_second is None else f"{row.samples_per_second:,.0f}"


def memory(row: Row) -> str:
    """Peak memory in MB (10⁶ bytes)."""
    return "–" if row.peak_memory is None else f"{row.peak_memory / 1e6:,.0f}"


def interval_note(board: Leaderboard) -> str:
    """What the numbers after ± are."""
    n = len(board.seeds)
    if n == 1:
        return "One seed: no interval can be given."
    method = "Student's t" if n < FEW_SEEDS else "percentile bootstrap"
    return f"± is half of the 95 % interval of the mean over {n} seeds ({method})."


GAIN_NOTE = (
    "gain = (score − random init) / (supervised − random init), each seed with its own references: 0 is the untrained network, "
    "100 is training with all labels at the same budget."
)


def second_metric(table: Table) -> str:
    """A second metric worth a column: the linear probe's accuracy, mAP or R² where the headline is another one."""
    names = {name for row in table.rows for name in row.metrics}
    usual = next((name for name in ("linear.accuracy", "linear.map", "linear.r2") if name in names), "")
    return usual if table.headline != usual else ""


def print_leaderboard(board: Leaderboard, console: Console) -> None:
    """Print every table, the aggregates and what went wrong."""
    from rich import box
    from rich.table import Table as RichTable

    if not console.is_terminal:
        # A pipe has no width to keep to: nothing is folded.
        console = type(console)(width=140, highlight=False, file=console.file)
    for table in board.tables:
        second = second_metric(table)
        devices = sorted({row.device for row in table.rows if row.device})
        several = len(devices) > 1
        title = " · ".join([table.modality, table.dataset, *(devices if not several else [])])
        view = RichTable(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
        for title in ("#", "task", "backbone"):
            view.add_column(title, justify="left", no_wrap=title != "backbone", overflow="fold")
        for title in (metric_title(table.headline), "gain", *([metric_title(second)] if second else []), "samples/s", "MB"):
            view.add_column(title, justify="right")
        if several:
            view.add_column("device")
        rank = 0
        for row in table.rows:
            rank += row.kind == "task" and row.score is not None
            place = str(rank) if row.kind == "task" and row.score is not None else ""
            cells = [place, row_name(row), backbone_name(row), number(row.score, share=is_share(table.headline))]
            cells.append(number(row.gain, share=True) if row.kind == "task" else "")
            if second:
                cells.append(number(row.metrics.get(second), share=is_share(second)))
            cells.extend([speed(row), memory(row), *([row.device] if several else [])])
            view.add_row(*cells, style="dim" if row.kind != "task" else None)
        console.print(view)
        for row in table.rows:
            if row.note and row.kind == "task":
                console.print(f"  {row_name(row)}: {row.note}", highlight=False)
    if board.aggregates:
        view = RichTable(title="Mean gain over data sets, each modality the same", title_justify="left", header_style="bold")
        for title in ("task", "modalities", "benchmarks", "gain", ""):
            view.add_column(title, justify="right" if title in ("benchmarks", "gain") else "left")
        for item in board.aggregates:
            view.add_row(
                item.method, ", ".join(item.modalities), str(item.benchmarks), number(item.gain, share=True), item.note
            )
        console.print(view)
    console.print(f"{interval_note(board)} {GAIN_NOTE}", highlight=False, style="dim")
    for cell, error in board.failures:
        console.print(f"[red]failed[/red] {cell}: ", end="")
        console.print(error, markup=False, highlight=False)


def markdown(table: Table) -> str:
    """A table for a README."""
    second = second_metric(table)
    titles = [
        "task",
        "backbone",
        metric_title(table.headline),
        "gain",
        *([metric_title(second)] if second else []),
        "samples/s",
    ]
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for row in table.rows:
        name = row_name(row) if row.kind == "task" else f"*{row_name(row)}*"
        cells = [name, backbone_name(row), number(row.score, share=is_share(table.headline))]
        cells.append(number(row.gain, share=True) if row.kind == "task" else "")
        if second:
            cells.append(number(row.metrics.get(second), share=is_share(second)))
        lines.append("| " + " | ".join([*cells, speed(row)]) + " |")
    return "\n".join(lines)
