"""Options that name labelled or unlabelled data, shared by commands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

F = TypeVar("F", bound=Callable[..., Any])


def _columns_of(context: click.Context, parameter: click.Parameter, assignments: Sequence[str]) -> dict[str, str]:
    """``image=photo`` as a dict; an empty name (``start=``) says that no column has that role.

    Raises:
        BadParameter: an assignment has no ``=``, or a role is given two columns.
    """
    columns: dict[str, str] = {}
    for text in assignments:
        role, sign, name = text.partition("=")
        if not (sign and role):
            raise click.BadParameter(f"{text!r} is not of the form ROLE=NAME, such as image=photo.", param_hint="--column")
        if columns.setdefault(role, name) != name:
            raise click.BadParameter(f"{role} is given twice, as {columns[role]} and as {name}.", param_hint="--column")
    return columns


column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    callback=_columns_of,
    help="Which column holds what, where its type does not tell: image=photo; repeatable.",
)
"""``--column ROLE=NAME``, as a mapping ``columns``."""
label_kind_option = click.option(
    "--label-kind",
    type=click.Choice(["class", "classes", "number"]),
    help="What it holds: one class a row, several (a list, or a text with | ; or , between them), or a number "
    "[default: what its values look like].",
)
"""``--label-kind``, of the label column."""
unlabelled_option = click.option(
    "--unlabelled",
    multiple=True,
    metavar="VALUE",
    help="A label that means that a row has none, such as -1; repeatable. Empty ones always do.",
)
"""``--unlabelled VALUE``, labels that mean that a row has none."""


def table_options(function: F) -> F:
    """Add the options of tables that are read as text or sheets; the command gets them as a dict, ``table``."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        given = {key: options.pop(key) for key in _TABLE_KEYS}
        return function(*args, table={key: value for key, value in given.items() if value is not None}, **options)

    decorated: Any = command
    for option in (
        click.option("--sheet", metavar="NAME", help="The sheet of a workbook [default: the first]."),
        click.option("--no-header", "header", flag_value=False, type=bool, default=None, help="The first line holds data."),
        click.option("--encoding", metavar="NAME", help="Of texts and text tables: cp1252, utf-16, ... [default: found]."),
        click.option("--decimal", type=click.Choice([".", ","]), help="What begins the fraction of a number [default: found]."),
        click.option("--separator", metavar="CHAR", help="Between the cells of a text table: ; , tab ... [default: found]."),
    ):
        decorated = option(decorated)
    return cast(F, decorated)


_TABLE_KEYS = ("separator", "decimal", "encoding", "header", "sheet")


def data_options(function: F) -> F:
    """Add the options of :func:`table_options`, ``--data``, ``--label``, ``--label-kind``, ``--unlabelled``, ``--column`` and
    ``--max-bad-rows``.
    """
    function = table_options(function)
    for option in (
        click.option(
            "--max-bad-rows",
            default=0.01,
            show_default=True,
            type=click.FloatRange(0, 1),
            help="Part of the rows that may be unreadable.",
        ),
        column_option,
        unlabelled_option,
        label_kind_option,
        click.option("--label", metavar="COL", help="The label column, where it cannot be found."),
        click.option(
            "--data", required=True, metavar="SRC", help="A registered data set, a file or folder, or hf://owner/name."
        ),
    ):
        function = option(function)
    return function


checkpoint_option = click.option(
    "--checkpoint",
    type=click.Choice(["best"]),
    help="Of a RUN with --val: the weights with which the probe did best [default: what the run left].",
)

part_option = click.option(
    "--part",
    metavar="NAME",
    help="Of an encoder of several parts: this one alone, such as vision. Rows that lack it are left out.",
)
