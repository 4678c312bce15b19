"""What ``selfsup benchmark --compare`` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfsup_bench.compare.compare import Change, Compared
from selfsup_bench.leaderboard.tables import metric_title, number
from selfsup_bench.leaderboard.wording import is_share
from selfsup_bench.statistics.estimates import Estimate

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"better": "green", "worse": "bold red", "lost": "bold red", "same": "dim", "unclear": ""}


def print_compared(compared: Compared, console: Console) -> None:
    """Print what differs in circumstances, a table of the scores, and what follows."""
    from rich.table import Table
    from rich.text import Text

    console.print(f"before: {compared.before}\nafter:  {compared.after}", markup=False, soft_wrap=True)
    for name, (was, now) in compared.circumstances.items():
        console.print(f"  {name}: {was} -> {now}", markup=False, soft_wrap=True)
    for modality, dataset in dict.fromkeys((change.modality, change.dataset) for change in compared.changes):
        table = Table(title=f"{modality}: {dataset}", title_justify="left", box=None, pad_edge=False)
        for column in ("row", "metric", "before", "after", "difference", "", "speed"):
            table.add_column(column, justify="left" if column in ("row", "metric", "") else "right")
        for change in compared.changes:
            if (change.modality, change.dataset) == (modality, dataset):
                table.add_row(*cells_of(change)[:-2], Text(change.state, _STYLES[change.state]), cells_of(change)[-1])
        console.print(table)
    for line in lines_of(compared):
        console.print(line, markup=False, soft_wrap=True)


def cells_of(change: Change) -> tuple[str, ...]:
    """A line of the table: row, metric, before, after, difference with its interval, state, speed."""
    share = is_share(change.metric)
    return (
        change.name,
        metric_title(change.metric),
        number(change.before, share=share),
        number(change.after, share=share),
        difference_text(change.difference, share=share),
        change.state,
        "" if change.speed is None else f"{change.speed:.2f}x",
    )


def difference_text(difference: Estimate | None, *, share: bool) -> str:
    """``+1.2 (-0.3 to 2.7)``."""
    if difference is None:
        return ""
    factor, digits = (100.0, 1) if share else (1.0, 2)
    text = f"{difference.mean * factor:+.{digits}f}"
    if difference.interval is not None:
        text += f" ({difference.interval.low * factor:.{digits}f} to {difference.interval.high * factor:.{digits}f})"
    return text


def lines_of(compared: Compared) -> Sequence[str]:
    """What follows, in sentences for people, below the table."""
    lines = []
    if compared.speed is not None:
        lines.append(f"Pretraining is {compared.speed:.2f} times as fast (geometric mean over the rows).")
    unpaired = sorted({change.dataset for change in compared.changes if not change.paired and change.after is not None})
    if unpaired:
        lines.append(f"Not paired, since the data or the seeds differ: {', '.join(unpaired)}.")
    for names, folder in ((compared.only_before, compared.before), (compared.only_after, compared.after)):
        if names:
            lines.append(f"Only in {folder}: {', '.join(names)}.")
    if not compared.changes:
        lines.append("Nothing can be compared: no row of the two is on the same data set with the same metric.")
    worse = [change for change in compared.changes if change.state == "worse"]
    lost = [change for change in compared.changes if change.state == "lost"]
    better = sum(change.state == "better" for change in compared.changes)
    lines.append(
        f"Of {len(compared.changes)} scores {better} are better, {len(worse)} worse and {len(lost)} lost, beyond chance at a "
        "level of 5 % for all of them together (Holm)."
    )
    lines.extend(f"worse: {change.name} on {change.dataset}, {change.metric}" for change in worse)
    lines.extend(f"lost: {change.name} on {change.dataset}, {change.metric}: {change.error}" for change in lost)
    return lines
