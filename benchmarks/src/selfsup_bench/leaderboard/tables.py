"""The leaderboard as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selfsup_bench.cells.cell import is_supervised
from selfsup_bench.leaderboard.board import Leaderboard, Matrix, MatrixCell, MatrixRow, Row, Table, Verdict
from selfsup_bench.leaderboard.headline import Headline
from selfsup_bench.leaderboard.wording import is_share, labels_count, metric_name
from selfsup_bench.own_data.advice.recommendation import Recommendation
from selfsup_bench.statistics.estimates import FEW_SEEDS, Estimate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STATES = {"pays": "pays", "unclear": "unclear", "does-not-pay": "does not pay", "incomplete": "incomplete"}
_STATE_STYLES = {"pays": "bold green", "unclear": "yellow", "does-not-pay": "bold red", "incomplete": "red"}
_UNFOLDED = 1000
"""Columns where there is no terminal, so that nothing is folded."""


def metric_title(metric: str, labelled: int | None = None) -> str:
    """``few-labels.accuracy@10`` as a column says it: ``10 labels``; ``knn.accuracy``: ``knn accuracy``.

    Args:
        metric: its name.
        labelled: labelled rows of a draw, if it is known.
    """
    head = Headline(metric)
    if head.amount:
        return labels_count(head, labelled)
    evaluator, _, name = metric.partition(".")
    return f"{evaluator} {metric_name(name)}".strip()


def number(estimate: Estimate | None, *, share: bool) -> str:
    """Mean ± half the 95 % interval, in per cent for shares."""
    if estimate is None:
        return "–"
    factor, digits = (100.0, 1) if share else (1.0, 2)
    text = f"{estimate.mean * factor:.{digits}f}"
    if estimate.interval is not None:
        text += f" ± {estimate.interval.half_width * factor:.{digits}f}"
    return text


def backbone_name(row: Row) -> str:
    """The backbone without its modality."""
    return row.backbone.split("/", 1)[-1] or "–"


def gain_text(row: Row) -> str:
    """The gain in per cent, or ``unclear`` where its interval is wider than its scale; empty for references."""
    if row.kind != "task":
        return ""
    return "unclear" if row.unclear else number(row.gain, share=True)


def rank_text(row: Row) -> str:
    """The 95 % interval of a task's rank: ``1`` or ``1-3``."""
    if row.rank is None:
        return ""
    first, last = row.rank
    return str(first) if first == last else f"{first}-{last}"


def speed(row: Row) -> str:
    """Samples a second in pretraining."""
    return "–" if row.samples_per_second is None else f"{row.samples_per_second:,.0f}"


def memory(row: Row) -> str:
    """Peak memory in MB (10⁶ bytes)."""
    return "–" if row.peak_memory is None else f"{row.peak_memory / 1e6:,.0f}"


def interval_note(board: Leaderboard) -> str:
    """What the numbers after ± are."""
    n = len(board.seeds)
    few = any(Headline(table.headline).amount for table in board.tables)
    if n == 1:
        if not few:
            return "One seed: no interval can be given."
        return (
            "± is half of the 95 % interval of the mean over draws of the labels and test rows (Student's t). With one seed it "
            "leaves out how much seeds differ. Scores with all labels and gains have none."
        )
    over = f"{n} seeds, draws of the labels and test rows" if few else f"{n} seeds"
    method = "Student's t" if n < FEW_SEEDS else "bootstrap"
    alone = "; of scores with all labels and of gains it is over the seeds alone" if few else ""
    return f"± is half of the 95 % interval of the mean over {over} ({method}){alone}."


GAIN_NOTE = (
    "gain = (score − random init) / (supervised − random init), each seed with its own references: 0 is the untrained network, "
    "100 is the network that was trained with all labels at the same budget, and is measured as the others are (with few "
    "labels: by a probe with those same few). Its score is among all metrics. Unclear: the interval is wider than that."
)


def second_metric(table: Table) -> str:
    """A second metric worth a column: the linear probe's accuracy, mAP or R² where the headline is another one."""
    names = {name for row in table.rows for name in row.metrics}
    usual = next((name for name in ("linear.accuracy", "linear.map", "linear.r2") if name in names), "")
    return usual if table.headline != usual else ""


def shown_rows(table: Table) -> list[Row]:
    """The rows without supervised training where *from scratch* has what it scores with all labels."""
    scratch = {row.backbone for row in table.rows if row.kind == "scratch" and row.all_labels is not None}
    return [row for row in table.rows if not (is_supervised(row.kind) and row.backbone in scratch)]


def beside(table: Table) -> tuple[str, dict[str, str]]:
    """Title and texts (by the row's key) of the column beside the headline: all labels, or the second metric."""
    if Headline(table.headline).amount:
        share = is_share(table.headline)
        return "all labels", {row.key: number(row.all_labels, share=share) for row in table.rows}
    second = second_metric(table)
    if not second:
        return "", {}
    return metric_title(second), {row.key: number(row.metrics.get(second), share=is_share(second)) for row in table.rows}


def print_leaderboard(board: Leaderboard, console: Console) -> None:
    """Print the recommendation or the verdicts, every table, the matrix, what went wrong, and how to go on."""
    if not console.is_terminal:
        # A pipe has no width to keep to: nothing is folded.
        console = type(console)(width=_UNFOLDED, highlight=False, file=console.file)
    advice = board.recommendation
    if advice is not None:
        _print_recommendation(advice, console)
    for table in board.tables if advice is None else ():
        _print_verdict(table.dataset, table.verdict, console)
    for table in board.tables:
        _print_table(table, console)
    if len(board.matrix.modalities) > 1:
        _print_matrix(board.matrix, console)
    devices = sorted({row.device for table in board.tables for row in table.rows if row.device})
    notes = [interval_note(board), GAIN_NOTE, f"Measured on {'; '.join(devices)}." if devices else ""]
    console.print(" ".join(notes).strip(), style="dim", **_plain(console))
    for cell, error in board.failures:
        console.print("failed ", style="red", end="")
        # The rest of it is in the record and on the page.
        console.print(f"{cell}: {error.splitlines()[0]}", **_plain(console))
    if advice is not None and advice.commands:
        console.print(f"The encoder of {advice.task} is in {advice.encoder}. To go on:", markup=False, soft_wrap=True)
        for what, command in advice.commands:
            console.print(f"  # {what}", style="dim", markup=False)
            # Never folded, so that it can be pasted.
            console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def _plain(console: Console) -> dict[str, Any]:
    """Options for plain text: brackets are no markup, and lines are folded only on a terminal."""
    return {"markup": False, "highlight": False, "soft_wrap": not console.is_terminal}


def _print_recommendation(advice: Recommendation, console: Console) -> None:
    style = {"pretrain": "bold green", "do-not-pretrain": "bold red"}.get(advice.state, "bold yellow")
    console.print(advice.sentence, style=style, **_plain(console))
    for line in advice.evidence:
        console.print(f"- {line}", **_plain(console))


def _print_verdict(dataset: str, verdict: Verdict, console: Console) -> None:
    from rich.text import Text

    text = Text()
    text.append(f"{dataset} " if dataset else "", style="bold")
    text.append(STATES[verdict.state], style=_STATE_STYLES[verdict.state])
    text.append(f"  {verdict.sentence}")
    console.print(text, soft_wrap=not console.is_terminal)
    console.print()


def _print_table(table: Table, console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable

    networks = sorted({backbone_name(row) for row in table.rows if row.backbone})
    several = len(networks) > 1
    head = [table.modality, table.dataset, *([] if several else networks)]
    title = " · ".join(part for part in head if part)
    view = RichTable(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    view.add_column("rank", no_wrap=True)
    view.add_column("method", overflow="fold", min_width=12)
    if several:
        view.add_column("network", overflow="fold")
    second, texts = beside(table)
    unit = " %" if is_share(table.headline) else f" {metric_name(Headline(table.headline).metric)}"
    score = metric_title(table.headline, table.labelled) + unit * bool(Headline(table.headline).amount)
    for name in (score, *([second] if second else [])):
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column("gain %", justify="right", no_wrap=True)
    for row in shown_rows(table):
        cells = [rank_text(row), row.name, *([backbone_name(row)] if several else [])]
        cells.append(number(row.score, share=is_share(table.headline)))
        cells.extend([texts[row.key]] if second else [])
        cells.append(gain_text(row))
        view.add_row(*cells, style="dim" if row.kind != "task" else None)
    console.print(view)
    for row in table.rows:
        if row.note and row.kind == "task":
            console.print(f"  {row.name}: no gain, {row.note}", **_plain(console))


def _print_matrix(matrix: Matrix, console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable

    with_mean = any(row.mean is not None for row in matrix.rows)
    view = RichTable(
        title="Gain % of methods across modalities",
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    view.add_column("method", overflow="fold")
    for name in (*matrix.modalities, *(["mean"] if with_mean else [])):
        view.add_column(name, justify="right", overflow="fold")
    family = None
    for row in matrix.rows:
        if row.family != family:
            family = row.family
            view.add_row(f"[italic]{family}[/italic]", style="dim")
        cells = [_matrix_cell(row.cells.get(modality)) for modality in matrix.modalities]
        view.add_row(row.name, *cells, *([_matrix_mean(row)] if with_mean else []))
    console.print(view)


def _matrix_cell(cell: MatrixCell | None) -> Text:
    from rich.text import Text

    if cell is None:
        return Text("")
    if cell.state in ("failed", "missing"):
        return Text("failed" if cell.state == "failed" else "not run", style="red")
    if cell.state == "unclear":
        return Text("unclear", style="dim")
    return _gain(cell.gain)


def _matrix_mean(row: MatrixRow) -> Text:
    from rich.text import Text

    if row.unclear:
        return Text("unclear", style="dim")
    return _gain(row.mean) if row.mean is not None or len(row.cells) < 2 else Text("–")


def _gain(gain: Estimate | None) -> Text:
    """A gain in whole per cent, coloured by how large it is."""
    from rich.text import Text

    if gain is None:
        return Text("")
    text = f"{100 * gain.mean:.0f}"
    if gain.interval is not None:
        text += f"±{100 * gain.interval.half_width:.0f}"
    style = next(style for bound, style in _GAIN_STYLES if gain.mean >= bound)
    return Text(text, style=style)


_GAIN_STYLES = ((0.67, "bold green"), (0.33, "green"), (0.0, "yellow"), (float("-inf"), "red"))
"""Least gain to style."""
