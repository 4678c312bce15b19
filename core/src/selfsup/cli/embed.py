"""``selfsup embed``: write the embedding of every row to a file."""

from __future__ import annotations

from typing import Any

import click

from selfsup.cli.data_options import data_options, devices_option, precision_option
from selfsup.cli.output import emit, json_option
from selfsup.errors import ConfigError


@click.command()
@data_options
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    help="FILE.parquet or FILE.csv (rows with their names), or FILE.npy and FILE.rows.csv.",
)
@click.option("--id", "id_column", metavar="COL", help="The column that names rows [default: id, key, file_name, ...].")
@click.option("--split", metavar="NAME", help="Split of the source [default: train if there is one].")
@click.option("--batch-size", type=click.IntRange(min=1), help="Rows per batch [default: the modality's].")
@precision_option("the embeddings")
@devices_option
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What computes: this process, or workers of a Ray cluster.",
)
@click.option(
    "--engine-option",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the engine ray, such as workers=8; repeatable.",
)
@json_option
def command(encoder: str, data: str, out: str, as_json: bool, settings: tuple[str, ...], **options: Any) -> None:
    """Write the embedding of every row to a file, in full or not at all.

    With --engine ray, workers of a Ray cluster read and embed blocks of rows, and this process writes the file. It is the same
    as without. A block whose worker dies is given to another one.
    """
    from selfsup.evaluation.embedding.embed import embed
    from selfsup.training.device.devices import process_ranks

    result = embed(encoder, data, out, progress=True, engine_options=engine_options(settings), **options)
    if process_ranks()[0] > 0:
        return
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


def engine_options(settings: tuple[str, ...]) -> dict[str, str]:
    """``("workers=8",)`` as a dict.

    Raises:
        ConfigError: one is not of this form.
    """
    for setting in settings:
        if "=" not in setting:
            raise ConfigError(f"--engine-option {setting!r} is not of the form KEY=VALUE.")
    return dict(setting.split("=", 1) for setting in settings)
