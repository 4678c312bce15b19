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
from speed.figures import NAMES, measurable, measurements, names, usual
from speed.measure import Figure, Settings, amount


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
    help="Where to measure; on cuda the figures of pretraining too, in full size.",
)
@click.option(
    "--compile",
    default="",
    metavar="BACKEND",
    help="Of torch.compile on our side, or off (figures of pretraining). [default: off, and on cuda inductor as well]",
)
@click.option("--profile", is_flag=True, help="Say where the time of a step goes (figures of pretraining).")
@click.option("--alone", is_flag=True, help="Leave the peer out (figures of pretraining).")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the figures in this JSON file with device and commit, in place of older ones of the same names.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--here", is_flag=True, hidden=True, help="Measure in this process.")
def main(
    modality: str, only: tuple[str, ...], repeats: int, data: str, rows: int, steps: int, device: str, compile: str,
    profile: bool, alone: bool, out: Path | None, as_json: bool, here: bool,
) -> None:  # fmt: skip
    """Measure how fast the program is, against its peers where there are any.

    Run it on a machine that does nothing else. The exit status is 1 if a figure cannot be measured or misses its goal.
    """
    unknown = sorted(set(only) - set(names(modality)))
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(names(modality))}.", param_hint="--only")
    elsewhere = sorted(set(only) - set(measurable(modality, device)))
    if elsewhere:
        raise click.BadParameter(
            f"{elsewhere[0]!r} cannot be measured on {device}; these can: {', '.join(measurable(modality, device)) or 'none'}.",
            param_hint="--only",
        )
    settings = Settings(
        repeats=repeats, data=data, rows=rows, steps=steps, device=device, compile=compile, profile=profile, alone=alone
    )
    results: list[dict[str, Any]] = []
    for name in only or usual(modality, device):
        if not as_json:
            click.echo(f"measuring {name} ...", err=True)
        results += _here(modality, name, settings) if here else _apart(modality, name, settings)
    if out is not None and any("error" not in result for result in results):
        from speed import records

        records.keep(out, modality, results, records.where_and_when(device, [modality, *_given(click.get_current_context())]))
    emit(results, as_json=as_json, text=lambda: show(results))
    if not all(result.get("reached") for result in results):
        sys.exit(1)


def _given(context: click.Context) -> list[str]:
    """The options that a figure depends on and that were given, as on the command line."""
    words: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name in ("only", "repeats", "rows", "steps", "device", "compile", "profile", "alone"):
            value = context.params[name]
            for each in value if isinstance(value, tuple) else (value,):
                words += [f"--{name}"] if each is True else [f"--{name}", str(each)]
    return words


def _here(modality: str, name: str, settings: Settings) -> list[dict[str, Any]]:
    try:
        found = measurements(modality)[name](settings)
    except SelfsupError as error:
        return [{"name": name, "error": str(error)}]
    return [figure.as_dict() for figure in ([found] if isinstance(found, Figure) else found)]


def _apart(modality: str, name: str, settings: Settings) -> list[dict[str, Any]]:
    """Measure one figure in a process of its own, so that the memory and threads of one do not weigh on the next."""
    command = [sys.executable, "-m", "speed", modality, "--only", name, "--json", "--here"]
    for option, value in asdict(settings).items():
        if not isinstance(value, bool):
            command += [f"--{option}", str(value)]
        elif value:
            command.append(f"--{option}")
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    try:
        results: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return [{"name": name, "error": last}]
    return results


def show(results: list[dict[str, Any]]) -> None:
    """The figures as Markdown, fit for a README."""
    click.echo("| figure | ours | theirs | value | goal | |\n| --- | --- | --- | --- | --- | --- |")
    for result in results:
        if "error" in result:
            click.echo(f"| {result['name']} | – | – | – | – | {result['error']} |")
            continue
        theirs = "–" if result["theirs"] is None else f"{amount(result['theirs'])} {result['unit']}"
        is_ratio = result["theirs"] is not None and not result["goal_of_ours"]
        value = f"{result['value']:.3g}×" if is_ratio else f"{amount(result['value'])} {result['unit']}"
        reached = "reached" if result["reached"] else "NOT reached"
        click.echo(
            f"| {result['name']}: {result['what']} | {amount(result['ours'])} {result['unit']} | {theirs} | {value} "
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
