"""``selfsup transfer``: transfer an encoder to a table with partly different columns."""

from __future__ import annotations

from typing import Any

import click

from selfsup.cli import emit, json_option, table_options


@click.command()
@click.argument("encoder", metavar="RUN|ENCODER")
@click.option("--data", required=True, metavar="SRC", help="The new table: a file, a folder, a registered data set.")
@click.option("--label", metavar="COL", help="Its label column, which is left out.")
@table_options
@click.option("--out", required=True, metavar="DIR", help="Folder for the new encoder.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the weights of new columns.")
@json_option
def command(encoder: str, data: str, label: str | None, table: dict[str, Any], out: str, seed: int, as_json: bool) -> None:
    """Transfer an encoder of tables to a table with partly different columns."""
    from selfsup_tabular.column_transfer import transfer

    moved = transfer(encoder, data, label=label, table=table, seed=seed)
    path = moved.encoder.save(out)
    document = {"path": path, "shared": list(moved.shared), "new": list(moved.new), "gone": list(moved.gone)}
    text = f"{path}: {len(moved.shared)} shared columns, {len(moved.new)} new, {len(moved.gone)} removed"
    emit(document, as_json=as_json, text=lambda: click.echo(text))
