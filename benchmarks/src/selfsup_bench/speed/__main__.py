"""``python -m selfsup_bench.speed vision``: every figure, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click

from selfsup.cli.output import emit, progress_console
from selfsup.errors import SelfsupError
from selfsup_bench.speed.measure import Figure


def vision_figures() -> dict[str, Callable[[int], Figure]]:
    """Name to how it is measured, given the number of repeats."""
    from selfsup_bench.speed import probes, program, training, views

    return {
        "views-32": lambda repeats: views.views_figure(32, goal=5, n=4096, repeats=repeats),
        "views-96": lambda repeats: views.views_figure(96, goal=3, n=1536, repeats=repeats),
        "step": lambda repeats: training.step_figure(repeats=repeats),
        "end-to-end": lambda repeats: training.end_to_end_figure(cifar_stem=False, goal=3, repeats=repeats),
        "end-to-end-cifar-stem": lambda repeats: training.end_to_end_figure(cifar_stem=True, goal=3, repeats=min(repeats, 3)),
        "knn": lambda repeats: probes.knn_figure(repeats=repeats),
        "knn-memory": lambda repeats: probes.knn_memory_figure(repeats=repeats),
        "linear": lambda repeats: probes.linear_figure(repeats=repeats),
        "help": lambda repeats: program.help_figure(repeats=repeats),
        "memory": lambda repeats: program.memory_figure(repeats=repeats),
    }


NAMES = ("views-32", "views-96", "step", "end-to-end", "end-to-end-cifar-stem", "knn", "knn-memory", "linear", "help", "memory")
"""Names of the figures, known without importing torch."""


@click.command()
@click.argument("modality", type=click.Choice(["vision"]))
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only this figure; repeatable.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Measurements of each side.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--here", is_flag=True, hidden=True, help="Measure in this process.")
def main(modality: str, only: tuple[str, ...], repeats: int, as_json: bool, here: bool) -> None:
    """Measure how fast the program is, against its peers where there are any.

    Run it on a machine that does nothing else. The exit status is 1 if a figure cannot be measured or misses its goal.
    """
    results: list[dict[str, Any]] = []
    for name in only or NAMES:
        if not as_json:
            click.echo(f"measuring {name} ...", err=True)
        results.append(_here(name, repeats) if here else _apart(modality, name, repeats))
    emit(results, as_json=as_json, text=lambda: show(results))
    if not all(result.get("reached") for result in results):
        sys.exit(1)


def _here(name: str, repeats: int) -> dict[str, Any]:
    try:
        return vision_figures()[name](repeats).as_dict()
    except SelfsupError as error:
        return {"name": name, "error": str(error)}


def _apart(modality: str, name: str, repeats: int) -> dict[str, Any]:
    """Measure one figure in a process of its own, so that the memory and threads of one do not weigh on the next."""
    command = [
        sys.executable,
        "-m",
        "selfsup_bench.speed",
        modality,
        "--only",
        name,
        "--repeats",
        str(repeats),
        "--json",
        "--here",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        result: dict[str, Any] = json.loads(done.stdout)[0]
    except (ValueError, LookupError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"name": name, "error": last}
    return result


def show(results: list[dict[str, Any]]) -> None:
    """The figures as Markdown, fit for a README."""
    click.echo("| figure | ours | theirs | value | goal | |\n| --- | --- | --- | --- | --- | --- |")
    for result in results:
        if "error" in result:
            click.echo(f"| {result['name']} | – | – | – | – | {result['error']} |")
            continue
        theirs = "–" if result["theirs"] is None else f"{result['theirs']:,.4g} {result['unit']}"
        value = f"{result['value']:.3g}{'×' if result['theirs'] is not None else ' ' + result['unit']}"
        reached = "reached" if result["reached"] else "NOT reached"
        click.echo(
            f"| {result['name']}: {result['what']} | {result['ours']:,.4g} {result['unit']} | {theirs} | {value} "
            f"| {result['compare']} {result['goal']:g} | {reached}{'; ' + result['note'] if result['note'] else ''} |"
        )
    progress_console().print(_machine(), highlight=False)


def _machine() -> str:
    from selfsup.artifacts.environment import cpu_name
    from selfsup_bench.executors.local import cpu_count

    return f"{cpu_name()}, {cpu_count()} cores"


if __name__ == "__main__":
    main()
