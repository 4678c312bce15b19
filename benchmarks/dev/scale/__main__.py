"""``python -m scale`` in ``benchmarks/dev``: simulate many machines, measure constants, reckon costs."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from scale.constants import about, measure
from scale.cost import METHODS, RECORDS, Cost, Plan, recorded_constants
from scale.page import PAGE, number, written
from scale.shards import write_shards
from scale.simulate import Setting, simulate
from selfsup.cli import emit


@click.group()
def main() -> None:
    """Runs on many machines, simulated on one, and a model of what large data cost."""


def _save(name: str, record: dict[str, Any]) -> None:
    RECORDS.mkdir(parents=True, exist_ok=True)
    (RECORDS / name).write_text(json.dumps(record, indent=1) + "\n")


@main.command("simulate")
@click.option("--nodes", default=8, show_default=True, help="Processes, each in a network namespace where root may make them.")
@click.option("--shards", default=1000, show_default=True, help="Archives on the server.")
@click.option("--rows", default=8, show_default=True, help="Images of an archive.")
@click.option("--mbit", default=8.0, show_default=True, help="Of each way of each link.")
@click.option("--device-seconds", default=6.0, show_default=True, help="How long a step sleeps, in the place of a device.")
@click.option("--batch-size", default=32, show_default=True, help="Images of a step of a process.")
@click.option("--steps", default=12, show_default=True, help="Of all runs but one, which reads an epoch.")
@click.option("--record", is_flag=True, help="Keep the result for the page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def simulate_command(
    nodes: int, shards: int, rows: int, mbit: float, device_seconds: float, batch_size: int, steps: int, record: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Train in several processes that read shards from one server over slow links, and in one for comparison."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        made = write_shards(Path(folder), shards, rows, 64, padding=38_000)
        runs = [
            ("shards", 1, mbit, steps),
            ("shards", nodes, mbit, 0),
            ("rows", nodes, mbit, steps),
            ("shards", nodes, 100.0, steps),
        ]
        results: list[dict[str, Any]] = []
        found = {"runs": results, **about()}
        for split, processes, link, count in runs:
            click.echo(f"{processes} process(es), split={split}, {link:g} Mbit/s ...", err=True)
            setting = Setting(processes, split, link, device_seconds=device_seconds, batch_size=batch_size, steps=count)
            results.append(simulate(made, setting))
            if record:
                _save("simulation.json", found)
    emit(found, as_json=as_json, text=lambda: click.echo(json.dumps(found, indent=1)))


@main.command("constants")
@click.option("--size", default=224, show_default=True, help="S of the images in pixels.")
@click.option("--record", is_flag=True, help="Keep them for the model and the page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def constants_command(size: int, record: bool, as_json: bool) -> None:
    """Measure the constants of the model on this machine."""
    found = measure(size=size)
    if record:
        _save("constants.json", found)
    emit(found, as_json=as_json, text=lambda: click.echo(json.dumps(found, indent=1)))


def _options(command: Any) -> Any:
    for field in reversed(fields(Plan)):
        kind = int if isinstance(field.default, int) else float
        command = click.option(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, show_default=True)(
            command
        )
    return command


@main.command("cost")
@click.option("--method", type=click.Choice(list(METHODS)), help="Rate and parameters of a method that was measured.")
@_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def cost_command(method: str | None, as_json: bool, **given: Any) -> None:
    """Reckon bytes, seconds and devices of a pretraining, and what breaks first.

    The constants are those of the record for images of its size; --file-bytes is that of your images.
    """
    if method is not None:
        given |= {"device_rate": METHODS[method].rate, "parameters": METHODS[method].parameters}
    cost = Cost(Plan(**given), recorded_constants())
    found = {
        "plan": asdict(cost.plan),
        "figures": [asdict(line) for line in cost.lines()],
        "limits": [{**asdict(limit), "load": limit.load} for limit in cost.limits()],
    }

    def show() -> None:
        for line in cost.lines():
            click.echo(f"{line.what:28} {number(line.value):>12} {line.unit:18} {line.how}")
        click.echo("\nWhat breaks first (above 1 it does):")
        for limit in cost.limits():
            there = f"{number(limit.needed)} of {number(limit.there)} {limit.unit}"
            click.echo(f"{number(limit.load):>8}  {limit.what}: {there}. {limit.remedy}")

    emit(found, as_json=as_json, text=show)


@main.command("page")
def page_command() -> None:
    """Write the tables of the page on large data anew, from the records."""
    PAGE.write_text(written(PAGE.read_text()))


if __name__ == "__main__":
    main()
