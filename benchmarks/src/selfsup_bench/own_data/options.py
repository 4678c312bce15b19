"""The options of ``selfsup benchmark`` for own data, and which of the others go with them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

from selfsup.cli import column_option, label_kind_option, table_options, unlabelled_option
from selfsup.errors import ConfigError

if TYPE_CHECKING:
    from selfsup_bench.own_data.command import Asked

F = TypeVar("F", bound=Callable[..., Any])

_KEYS = ("data", "labelled", "test", "label", "label_kind", "unlabelled", "columns", "table", "minutes", "per_class")
_PARAMETERS = (
    *(key for key in _KEYS if key != "table"),
    "separator",
    "decimal",
    "encoding",
    "header",
    "sheet",
)
"""Parameters that mean something with ``--data`` alone."""


@dataclass(frozen=True)
class OwnOptions:
    """What was given, as the command has it."""

    data: str | None
    values: dict[str, Any]

    def asked(self, modalities: tuple[str, ...], only: tuple[str, ...]) -> Asked:
        """What the user asked for; to go on with a benchmark, no data need be named.

        Raises:
            ConfigError: there are several modalities.
        """
        from selfsup_bench.own_data.command import Asked

        if len(modalities) > 1:
            raise ConfigError(f"--data is of one modality, not of {len(modalities)}: {', '.join(modalities)}.")
        sources = {name: self.values[name] or "" for name in ("data", "labelled", "test")}
        return Asked(**{**self.values, **sources}, modality=modalities[0] if modalities else None, names=only)


def own_options(function: F) -> F:
    """Add the options of own data; the command gets them as ``own``."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        given = {key: options.pop(key) for key in _KEYS}
        return function(*args, own=OwnOptions(given["data"], given), **options)

    decorated: Any = table_options(command)
    for option in (
        column_option,
        unlabelled_option,
        label_kind_option,
        click.option(
            "--labels-per-class",
            "per_class",
            type=click.IntRange(1),
            default=None,
            show_default="10",
            help="Few labels: how many a class (--data).",
        ),
        click.option(
            "--minutes",
            type=click.FloatRange(min=0, min_open=True),
            default=None,
            show_default="30",
            help="The time that the benchmark of --data may take; with --resume, more of it gives more seeds.",
        ),
        click.option(
            "--test", metavar="SRC", help="Labelled rows to test on [default: a part of the labelled ones, or a split]."
        ),
        click.option("--labelled", metavar="SRC", help="The labelled rows, where they are apart from --data."),
        click.option("--label", metavar="COL", help="The label column, where it cannot be found; rows may lack it (--data)."),
        click.option("--data", metavar="SRC", help="Your own data: a file or folder, hf://owner/name, a data set's name."),
    ):
        decorated = option(decorated)
    return cast(F, decorated)


def is_own(folder: Path) -> bool:
    """Whether a folder holds a benchmark of own data."""
    from selfsup_bench.own_data.state import FILE

    return (folder / FILE).is_file()


def refuse_for_own(context: click.Context) -> None:
    """Refuse options that do not go with own data.

    Raises:
        ConfigError: one was given.
    """
    reasons = {
        "suite": "the tasks of --data are chosen by its modality and by --only",
        "seeds": "as many seeds are run as --minutes allow",
    }
    for name, reason in reasons.items():
        if was_given(context, name):
            raise ConfigError(f"--{name} does not go with --data: {reason}. Leave it out.")


def refuse_without_data(context: click.Context) -> None:
    """Refuse options that say something of own data, if no data is named.

    Raises:
        ConfigError: one was given.
    """
    for parameter in context.command.params:
        if parameter.name in _PARAMETERS and was_given(context, parameter.name):
            raise ConfigError(
                f"{parameter.opts[0]} has no effect without --data, which names the data. Leave it out, or name some."
            )


def was_given(context: click.Context, name: str) -> bool:
    """Whether the user gave a parameter."""
    return context.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)
