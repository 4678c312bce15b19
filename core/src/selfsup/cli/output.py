"""Print results on stdout, progress and warnings on stderr, and one JSON document for ``--json``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
"""Adds ``--json`` to a command as the parameter ``as_json``."""


def emit(document: Any, *, as_json: bool, text: Callable[[], None] | None = None) -> None:
    """Print a result on stdout.

    Args:
        document: JSON values; paths, tuples, sets and numpy numbers are converted, NaN and infinities become null.
        as_json: print the document as JSON.
        text: prints it for people; without it, strings are printed as they are and other values as JSON.
    """
    if as_json or (text is None and not isinstance(document, str)):
        click.echo(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))
    elif text is None:
        click.echo(document)
    else:
        text()


def plain(value: Any) -> Any:
    """A result as JSON values."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


@cache
def result_console() -> Console:
    """The console for results: stdout."""
    from rich.console import Console

    return Console(highlight=False)


@cache
def progress_console() -> Console:
    """The console for progress and warnings: stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout.

    On a terminal it fits the width. In a pipe it is tab-separated lines with the headers first, without cuts or wraps.
    """
    console = result_console()
    if not console.is_terminal:
        for row in (headers, *rows):
            click.echo("\t".join(row))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
