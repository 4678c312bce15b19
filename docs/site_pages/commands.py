"""The page of the command line: what ``--help`` of each command prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selfsup.cli.main import program
from site_pages.markdown import save


def write(out: Path) -> None:
    """Write ``commands.md``."""
    context = click.Context(program, info_name="selfsup", terminal_width=100)
    blocks = [f"## selfsup {name}\n\n```text\n{_help(context, name)}\n```" for name in program.list_commands(context)]
    save(
        out / "commands.md",
        "# Command line",
        "Exit status: 0 done, 1 the run failed, 2 wrong usage. Results go to stdout, progress and warnings to stderr. `--json` "
        "prints one JSON document and nothing else.",
        *blocks,
    )


def _help(parent: click.Context, name: str) -> str:
    command: Any = program.get_command(parent, name)
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
    texts = [command.get_help(context)]
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            texts.append(found.get_help(click.Context(found, info_name=inner, parent=context, terminal_width=100)))
    return "\n\n\n".join(texts)
