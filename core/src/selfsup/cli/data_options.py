"""Options that several commands share: which data, which labels, which encoder."""

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
    help="The column for a role, if its type does not tell: image=photo; repeatable.",
)
"""``--column ROLE=NAME``, as a mapping ``columns``."""
label_kind_option = click.option(
    "--label-kind",
    type=click.Choice(["class", "classes", "number"]),
    help="Kind of label: one class a row, several classes (a list, or a text with | ; or , between them), or a number "
    "[default: detected from the values].",
)
"""``--label-kind``, of the label column."""
unlabelled_option = click.option(
    "--unlabelled",
    multiple=True,
    metavar="VALUE",
    help="A label that marks a row without a label, such as -1; repeatable. Empty labels always do.",
)
"""``--unlabelled VALUE``, labels that mark rows without a label."""
seed_option = click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of every random choice."
)
test_option = click.option(
    "--test", metavar="SRC", help="Rows to test on [default: the source's test split, or rows held out from --data]."
)
_TABLE_KEYS = ("separator", "decimal", "encoding", "header", "sheet")


def _applied(function: F, options: Sequence[Callable[[F], F]]) -> F:
    """The command with these options, in this order in its help."""
    for option in reversed(options):
        function = option(function)
    return function


def table_options(function: F) -> F:
    """Add the options of text tables and sheets; the command gets them as a dict, ``table``."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        given = {key: options.pop(key) for key in _TABLE_KEYS}
        return function(*args, table={key: value for key, value in given.items() if value is not None}, **options)

    options = [
        click.option("--separator", metavar="CHAR", help="Between the cells of a text table: ; , tab ... [default: detected]."),
        click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark of numbers [default: detected]."),
        click.option("--encoding", metavar="NAME", help="Of texts and text tables: cp1252, utf-16, ... [default: detected]."),
        click.option("--no-header", "header", flag_value=False, type=bool, default=None, help="The first line holds data."),
        click.option("--sheet", metavar="NAME", help="The sheet of a workbook [default: the first]."),
    ]
    return _applied(cast(F, command), options)


def source_options(function: F) -> F:
    """Add ``--label``, ``--label-kind``, ``--unlabelled``, ``--column`` and the options of :func:`table_options`."""
    label = click.option("--label", metavar="COL", help="The label column [default: detected].")
    return _applied(table_options(function), [label, label_kind_option, unlabelled_option, column_option])


def encoder_options(function: F) -> F:
    """Add the argument ``RUN|ENCODER``, and ``--checkpoint`` and ``--part``, which choose from it."""
    options = [
        click.argument("encoder", metavar="RUN|ENCODER"),
        click.option(
            "--checkpoint",
            type=click.Choice(["best"]),
            help="For a RUN with --val: the weights with the best probe [default: the last ones].",
        ),
        click.option(
            "--part",
            metavar="NAME",
            help="For an encoder of several parts: use only this part, such as vision. Rows without it are left out.",
        ),
    ]
    return _applied(function, options)


def data_options(function: F) -> F:
    """Add ``--data``, ``--max-bad-rows``, and the options of :func:`encoder_options` and :func:`source_options`.

    A command passes most of them on as they are: ``def command(encoder, data, **options)``.
    """
    data = click.option(
        "--data", required=True, metavar="SRC", help="A registered data set, a file or folder, or hf://owner/name."
    )
    bad_rows = click.option(
        "--max-bad-rows",
        default=0.01,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Largest share of unreadable rows.",
    )
    return encoder_options(data(source_options(bad_rows(function))))


def devices_option(function: F) -> F:
    """``--devices``, of commands that embed or train."""
    return click.option(
        "--devices",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes on this machine, one per GPU [default: those that torchrun or srun started, else 1].",
    )(function)


def precision_option(what: str) -> Callable[[F], F]:
    """``--precision`` of a forward pass.

    Args:
        what: what is computed, for the help.
    """
    choice = click.Choice(["auto", "32", "bf16", "16"])
    return click.option("--precision", default="32", show_default=True, type=choice, help=f"Precision of {what}.")
