"""Flags that modalities add to commands: short forms of ``--set``."""

from __future__ import annotations

from typing import Any

import click

from selfsup.errors import ConfigError, PluginError
from selfsup.registry import registry
from selfsup.registry.specs import Flag

_PREFIX = "flag_"
_KEY = "selfsup.flags"


class FlaggedCommand(click.Command):
    """A command with the flags of all installed modalities."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, and an option for each flag."""
        own = super().get_params(ctx)
        if _KEY not in ctx.meta:
            taken = {name for parameter in own for name in parameter.opts}
            ctx.meta[_KEY] = [_option(name, flags, taken) for name, flags in _flags().items()]
        return [*own, *ctx.meta[_KEY]]


def take_flags(options: dict[str, Any], task: str | None) -> dict[str, Any]:
    """Take the values of flags out of a command's options.

    Args:
        options: of the command; flags are removed from it.
        task: id of the task, whose modality must have the flag; None: unknown, as for a config file or a resumed run.

    Returns:
        Config key to value, as for ``--set``.

    Raises:
        ConfigError: the task's modality does not have a given flag.
    """
    from selfsup.training.settings.values import Unread

    given = {key.removeprefix(_PREFIX): options.pop(key) for key in list(options) if key.startswith(_PREFIX)}
    known = _flags()
    overrides = {}
    for key, value in given.items():
        if value is None:
            continue
        name = key.replace("_", "-")
        flags = known[name]
        modality = task.partition("/")[0] if task else next(iter(flags)) if len(flags) == 1 else ""
        if modality not in flags:
            whose = f"and this is {task}" if task else "so name the task"
            raise ConfigError(f"--{name} is a flag of {' and '.join(flags)} tasks, {whose}.")
        overrides[flags[modality].option] = Unread(value)
    return overrides


def _flags() -> dict[str, dict[str, Flag]]:
    """Name to modality to flag."""
    found: dict[str, dict[str, Flag]] = {}
    for spec in registry().modalities.values():
        for flag in spec.flags:
            found.setdefault(flag.name, {})[spec.id] = flag
    return found


def _option(name: str, flags: dict[str, Flag], taken: set[str]) -> click.Option:
    if f"--{name}" in taken:
        raise PluginError(f"The modality {next(iter(flags))!r} has a flag --{name}, which the command has already.")
    summary = " ".join(f"{flag.summary.rstrip('.')} ({modality})." for modality, flag in flags.items())
    metavar = next(iter(flags.values())).metavar
    return click.Option([f"--{name}", _PREFIX + name.replace("-", "_")], metavar=metavar, help=summary)
