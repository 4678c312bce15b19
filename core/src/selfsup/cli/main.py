"""The program ``selfsup``: finds the commands of all plugins, and turns errors into messages and an exit status.

It imports nothing heavy before a command is called, so that ``selfsup --help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from selfsup.errors import SelfsupError, printable


class Commands(click.Group):
    """The commands of all plugins, each imported when it is called or when its help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        from selfsup.registry import registry

        return sorted(registry().commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Import a command.

        Raises:
            UsageError: there is none of that name.
            PluginError: it cannot be imported, or is no ``click.Command``.
        """
        from selfsup.errors import PluginError
        from selfsup.registry import registry

        found = registry()
        spec = found.get("command", cmd_name)
        command = found.load(spec)
        if not isinstance(command, click.Command):
            raise PluginError(
                f"command {cmd_name!r}: its target {spec.target!r} is a {type(command).__name__}, not a click.Command."
            )
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; click refuses options in its place."""
        name = args[0]
        if name.startswith("-"):
            return super().resolve_command(ctx, args)
        return name, self.get_command(ctx, name), args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their specs, without importing any."""
        from selfsup.registry import registry

        commands = registry().commands
        with formatter.section("Commands"):
            formatter.write_dl([(name, commands[name].summary) for name in sorted(commands)])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="selfsup", prog_name="selfsup")
def program() -> None:
    """Self-supervised learning for every kind of data.

    Pretrain an encoder on data without labels, then measure, fine-tune, share and compare it.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit.

    Exit status: 0 done, 1 the run failed, 2 wrong usage, 130 interrupted, 128 + N after another signal N that ended a
    run. ``SELFSUP_DEBUG=1`` shows the traceback of an error.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    debug = os.environ.get("SELFSUP_DEBUG", "") not in ("", "0")
    shown, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        result = program.main(args=None if args is None else list(args), prog_name="selfsup", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        status = 130
    except SelfsupError as error:
        if debug:
            raise
        click.echo(_shown("Error", error), err=True)
        status = error.exit_status
    except BrokenPipeError:
        # The reader of our output has stopped (`selfsup list tasks | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    else:
        status = result if isinstance(result, int) else 0
    finally:
        warnings.showwarning = shown
    sys.exit(status)


def _shown(kind: str, message: object) -> str:
    """A message for the terminal; further lines are indented, so that no name in it can look like a line of the program."""
    return f"{kind}: {printable(str(message))}".replace("\n", "\n  ")


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
    """Show our own warnings as one line, and others as Python does."""
    if category.__module__ == "selfsup.errors":
        click.echo(_shown("Warning", message), err=True)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *where[:2], *where[3:4]))
