"""``selfsup plugins``: list, check and create plugins."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from selfsup.cli.output import emit, json_option, print_table
from selfsup.errors import UnknownIdError
from selfsup.registry import KINDS, PluginRecord, get_plugin_manager


@click.group()
def command() -> None:
    """List, check and create plugins."""


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List every plugin with its state and the number of things that it registers."""
    plugins = get_plugin_manager()
    counts = {record.name: _counts(record) for record in plugins.records}
    documents = [{**_document(record), "registers": counts[record.name]} for record in plugins.records]

    def text() -> None:
        rows = [
            [record.name, record.distribution, record.version, record.status, record.error or _in_words(counts[record.name])]
            for record in plugins.records
        ]
        print_table(["NAME", "DISTRIBUTION", "VERSION", "STATUS", "REGISTERS"], rows)

    emit(documents, as_json=as_json, text=text)


@command.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Import everything that the plugins register and report problems. Exit status 1 if there are any."""
    from selfsup.registry import registry
    from selfsup.registry.diagnosis import environment, problems

    plugins = get_plugin_manager()
    found = {record.name: problems(registry(), record) for record in plugins.records}
    about = environment()
    healthy = not any(found.values())
    documents = [
        {**_document(record), "traceback": record.traceback, "problems": found[record.name]} for record in plugins.records
    ]

    def text() -> None:
        for name, value in about.items():
            click.echo(f"{name}: {', '.join(value) or 'none' if isinstance(value, list) else value}")
        for record in plugins.records:
            click.echo(f"\n{record.label()}: {'problems' if found[record.name] else record.status}")
            for problem in found[record.name]:
                click.echo(f"  - {problem}")
            if record.traceback:
                click.echo("\n".join(f"    {line}" for line in record.traceback.rstrip().splitlines()))
        click.echo("\nAll plugins are fine." if healthy else "\nThere are problems.")

    emit({"healthy": healthy, "environment": about, "plugins": documents}, as_json=as_json, text=text)
    ctx.exit(0 if healthy else 1)


@command.command()
@click.argument("name")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Device of the tasks.")
@json_option
@click.pass_context
def check(ctx: click.Context, name: str, device: str, as_json: bool) -> None:
    """Run the conformance checks on everything that the plugin NAME registers. Exit status 1 if one fails.

    A plugin lists checks that it does not pass yet, with reasons, in SELFSUP_EXPECTED_FAILURES of its entry module. They are
    run and shown, and fail once they pass.
    """
    record = get_plugin_manager().record(name)
    if record is None or record.status != "loaded":
        raise UnknownIdError(_not_checkable(name, record))
    from selfsup.testing import check_plugin

    results = check_plugin(record.distribution, record.module, device)
    failed = [result for result in results if result.failed]
    expected = [result for result in results if result.expected and result.error]

    def text() -> None:
        for result in failed:
            click.echo(f"FAILED {result.id} {result.check}: {result.message}")
        for result in expected:
            click.echo(f"EXPECTED {result.id} {result.check}: {result.message}")
        passed = len(results) - len(failed) - len(expected)
        more = f", {len(expected)} failed as expected" if expected else ""
        click.echo(f"{record.label()}: {passed} checks passed, {len(failed)} failed{more}.")

    emit(
        {"plugin": _document(record), "checks": [asdict(result) | {"failed": result.failed} for result in results]},
        as_json=as_json,
        text=text,
    )
    ctx.exit(1 if failed else 0)


@command.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: selfsup-NAME].")
@json_option
def new(name: str, out: Path | None, as_json: bool) -> None:
    """Write a small working plugin distribution as a start for your own."""
    from selfsup.registry.scaffold import new_plugin

    folder = out or Path(f"selfsup-{name}")
    files = new_plugin(name, folder)

    def text() -> None:
        for file in files:
            click.echo(str(file))
        click.echo(f'\nNext:\n  pip install -e "{folder}[test]"\n  selfsup plugins check {name}')

    emit({"folder": folder, "files": files}, as_json=as_json, text=text)


def _document(record: PluginRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if key != "traceback"}


def _counts(record: PluginRecord) -> dict[str, int]:
    specs = get_plugin_manager().specs
    counts = {kind.plural: sum(item.plugin is record for item in specs[kind.name].values()) for kind in KINDS.values()}
    return {plural: count for plural, count in counts.items() if count}


def _in_words(counts: dict[str, int]) -> str:
    names = {kind.plural: kind.name for kind in KINDS.values()}
    return ", ".join(f"{count} {plural if count > 1 else names[plural]}" for plural, count in counts.items()) or "nothing"


def _not_checkable(name: str, record: PluginRecord | None) -> str:
    if record is not None:
        return f"the plugin {record.label()} is not in use: {record.error}"
    known = ", ".join(item.name for item in get_plugin_manager().records)
    return f"no plugin {name!r} is installed; there are {known}. Install it first (pip install -e FOLDER)."
