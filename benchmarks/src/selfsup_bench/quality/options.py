"""Options that the quality commands of texts, tables, sounds and videos share, and what they do with the cells."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from selfsup.cli.output import emit, json_option
from selfsup_bench.quality.cells import Chosen, Grid, cells_of, data_of
from selfsup_bench.quality.grid import run_grid
from selfsup_bench.quality.grid_cell import GridCell
from selfsup_bench.quality.grid_report import LEGEND, markdown, recalls, surely_better, tables

F = TypeVar("F", bound=Callable[..., Any])


def grid_options(*, seeds: int, steps: int) -> Callable[[F], F]:
    """The options, with these defaults."""

    def add(function: F) -> F:
        for option in reversed(
            [
                click.option(
                    "--dataset",
                    "datasets",
                    multiple=True,
                    metavar="NAME",
                    help="Only this data set; repeatable. [default: all]",
                ),
                click.option(
                    "--method",
                    "methods",
                    multiple=True,
                    metavar="NAME",
                    help="Only this task or reference; repeatable. [default: all]",
                ),
                click.option(
                    "--labels", default="", metavar="LIST", help="Numbers of labels: 100,5%,all. [default: by data set]"
                ),
                click.option(
                    "--steps", type=click.IntRange(1), default=steps, show_default=True, help="Optimizer steps of every task."
                ),
                click.option("--seeds", type=click.IntRange(1), default=seeds, show_default=True),
                click.option("--finetune", is_flag=True, help="Score tasks by training all weights, not by a linear probe."),
                click.option(
                    "--jobs", type=click.IntRange(0), default=0, help="Cells at a time, one thread each. [default: one a core]"
                ),
                click.option(
                    "--out",
                    type=click.Path(path_type=Path),
                    required=True,
                    help="Folder for results; goes on where it ended.",
                ),
                json_option,
            ]
        ):
            function = option(function)
        return function

    return add


def measure_grid(grid: Grid, chosen: Chosen, out: Path, *, jobs: int, as_json: bool) -> None:
    """Measure the cells that were chosen, print the tables, and end with status 1 if a cell failed."""
    from selfsup.registry import registry

    metrics = {name: data.metric for name, data in data_of(grid, chosen).items()}
    run_and_show(cells_of(grid, chosen, registry()), metrics, out, jobs=jobs, as_json=as_json)


def run_and_show(cells: Sequence[GridCell], metrics: Mapping[str, str], out: Path, *, jobs: int, as_json: bool) -> None:
    """Measure, print the tables, and end with status 1 if a cell failed."""

    def done(cell: GridCell, ended: int, total: int, error: str) -> None:
        text = f"failed: {error}" if error else "done"
        click.echo(f"[{ended}/{total}] {cell.dataset} {cell.method} seed {cell.seed}: {text}", err=True)

    found, failed = run_grid(cells, out, jobs=jobs, done=done)
    made = tables({cell: found[cell] for cell in cells if cell in found}, metrics)
    better = surely_better(made)
    by_neighbours = recalls({cell: found[cell] for cell in cells if cell in found})
    retrieval = tables(by_neighbours, dict.fromkeys(metrics, "recall"))
    document = {
        "tables": [table.as_dict() for table in made],
        "retrieval": [table.as_dict() for table in retrieval],
        "surely_better": better,
        "failed": {f"{cell.dataset}.{cell.method}.seed{cell.seed}": error for cell, error in failed.items()},
    }

    def show() -> None:
        for table in [*made, *retrieval]:
            click.echo(f"{markdown(table)}\n")
        click.echo(LEGEND)
        for method, count in sorted(better.items()):
            click.echo(
                f"{method}: surely above random init on {count['somewhere']} of {count['tables']} data sets, at every number "
                f"of labels on {count['everywhere']}."
            )

    emit(document, as_json=as_json, text=show)
    if failed:
        sys.exit(1)
