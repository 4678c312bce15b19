"""``python -m speed MODALITY`` in ``benchmarks/dev``: every figure, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from selfsup.cli import emit
from selfsup.cli.output import progress_console
from selfsup.errors import SelfsupError
from speed.figures import NAMES, PRETRAINING, measurements, names
from speed.measure import Settings


@click.command()
@click.argument("modality", type=click.Choice(list(NAMES)))
@click.option("--only", multiple=True, metavar="NAME", help="Only this figure; repeatable.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Measurements of each side.")
@click.option("--data", default="", metavar="SRC", help="Rows to train on, for figures of training on real text or tables.")
@click.option(
    "--rows", type=click.IntRange(0), default=0, help="Rows of the file of a memory figure. [default: the figure's own]"
)
@click.option("--steps", type=click.IntRange(0), default=0, help="Steps of a training. [default: the figure's own]")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to train; on cuda the figures of pretraining are measured, in full size.",
)
@click.option(
    "--compile", default="", metavar="BACKEND", help="Of torch.compile on our side, or off. [default: inductor on cuda]"
)
@click.option("--profile", is_flag=True, help="Say where the time of a step goes (figures of pretraining).")
@click.option("--alone", is_flag=True, help="Leave the peer out (figures of pretraining).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--here", is_flag=True, hidden=True, help="Measure in this process.")
def main(
    modality: str, only: tuple[str, ...], repeats: int, data: str, rows: int, steps: int, device: str, compile: str,
    profile: bool, alone: bool, as_json: bool, here: bool,
) -> None:  # fmt: skip
    """Measure how fast the program is, against its peers where there are any.

    Run it on a machine that does nothing else. The exit status is 1 if a figure cannot be measured or misses its goal.
    """
    unknown = sorted(set(only) - set(names(modality)))
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(names(modality))}.", param_hint="--only")
    settings = Settings(
        repeats=repeats, data=data, rows=rows, steps=steps, device=device, compile=compile, profile=profile, alone=alone
    )
    default = PRETRAINING.get(modality, ()) if device == "cuda" else NAMES[modality]
    results: list[dict[str, Any]] = []
    for name in only or default:
        if not as_json:
            click.echo(f"measuring {name} ...", err=True)
        results.append(_here(modality, name, settings) if here else _apart(modality, name, settings))
    emit(results, as_json=as_json, text=lambda: show(results))
    if not all(result.get("reached") for result in results):
        sys.exit(1)


def _here(modality: str, name: str, settings: Settings) -> dict[str, Any]:
    try:
        return measurements(modality)[name](settings).as_dict()
    except SelfsupError as error:
        return {"name": name, "error": str(error)}


def _apart(modality: str, name: str, settings: Settings) -> dict[str, Any]:
    """Measure one figure in a process of its own, so that the memory and threads of one do not weigh on the next."""
    command = [sys.executable, "-m", "speed", modality, "--only", name, "--json", "--here"]
    for option, value in asdict(settings).items():
        if not isinstance(value, bool):
            command += [f"--{option}", str(value)]
        elif value:
            command.append(f"--{option}")
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
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
    import torch

    from selfsup.runtime import cpu_count
    from selfsup.runtime.environment import cpu_name

    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{cpu_name()}, {cpu_count()} cores, torch {torch.__version__}"


if __name__ == "__main__":
    main()
