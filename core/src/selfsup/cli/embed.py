"""``selfsup embed``: write the embedding of every row to a file."""

from __future__ import annotations

from typing import Any

import click

from selfsup.cli.data_options import checkpoint_option, data_options, part_option
from selfsup.cli.output import emit, json_option


@click.command()
@click.argument("encoder", metavar="RUN|ENCODER")
@data_options
@checkpoint_option
@part_option
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    help="FILE.parquet or FILE.csv (rows with their names), or FILE.npy and FILE.rows.csv.",
)
@click.option("--id", "id_column", metavar="COL", help="The column that names rows [default: id, key, file_name, ...].")
@click.option("--split", metavar="NAME", help="Which split of the source [default: train where it has one].")
@click.option("--batch-size", type=click.IntRange(min=1), help="Rows at a time [default: what suits the modality].")
@click.option(
    "--precision", default="32", show_default=True, type=click.Choice(["auto", "32", "bf16", "16"]), help="Of the computation."
)
@json_option
def command(
    encoder: str,
    data: str,
    label: str | None,
    label_kind: Any,
    unlabelled: tuple[str, ...],
    columns: dict[str, str],
    table: dict[str, Any],
    max_bad_rows: float,
    out: str,
    id_column: str | None,
    split: str | None,
    batch_size: int | None,
    precision: Any,
    checkpoint: str | None,
    part: str | None,
    as_json: bool,
) -> None:
    """Write the embedding of every row to a file, in full or not at all."""
    from selfsup.evaluation.evaluate import embed

    result = embed(
        encoder,
        data,
        out,
        split=split,
        label=label,
        label_kind=label_kind,
        unlabelled=unlabelled,
        columns=columns,
        table=table,
        id_column=id_column,
        batch_size=batch_size,
        precision=precision,
        max_bad_rows=max_bad_rows,
        checkpoint=checkpoint,
        part=part,
        progress=True,
    )
    document = {
        "path": result.path,
        "rows": result.rows,
        "dim": result.dim,
        "bad_rows": result.bad_rows,
        "left_out": result.left_out,
    }
    left_out = f" ({result.bad_rows} rows could not be read)" if result.bad_rows else ""
    emit(
        document,
        as_json=as_json,
        text=lambda: click.echo(f"{result.path}: {result.rows} embeddings of {result.dim} numbers{left_out}"),
    )
