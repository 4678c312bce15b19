"""The options by which commands name labelled or unlabelled data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


label_kind_option = click.option(
    "--label-kind",
    type=click.Choice(["class", "classes", "number"]),
    help="What it holds: one class a row, several (a list, or a text with | ; or , between them), or a number "
    "[default: what its values look like].",
)
unlabelled_option = click.option(
    "--unlabelled",
    multiple=True,
    metavar="VALUE",
    help="A label that means that a row has none, such as -1; repeatable. Empty ones always do.",
)


def data_options(function: F) -> F:
    """Add ``--data``, ``--label``, ``--label-kind``, ``--unlabelled``, ``--column`` and ``--max-bad-rows``."""
    for option in (
        click.option(
            "--max-bad-rows",
            default=0.01,
            show_default=True,
            type=click.FloatRange(0, 1),
            help="Part of the rows that may be unreadable.",
        ),
        click.option(
            "--column", multiple=True, metavar="ROLE=NAME", help="Which column is the image, ... where its type does not tell."
        ),
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


def columns_of(assignments: Sequence[str]) -> dict[str, str]:
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
