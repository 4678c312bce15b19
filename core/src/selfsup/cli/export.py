"""``selfsup export``: write an encoder in another format."""

from __future__ import annotations

import click

from selfsup.cli.data_options import encoder_options
from selfsup.cli.output import emit, json_option


@click.command()
@encoder_options
@click.option(
    "--format",
    "format_",
    required=True,
    metavar="FORMAT",
    help="safetensors (the encoder's folder), torch-export, onnx, or one of the backbone's own: timm, transformers.",
)
@click.option("--out", required=True, metavar="PATH", help="A folder for safetensors and transformers, else a file.")
@json_option
def command(encoder: str, format_: str, out: str, checkpoint: str | None, part: str | None, as_json: bool) -> None:
    """Export an encoder for other programs."""
    from selfsup.artifacts import export, load

    path = export(load(encoder, checkpoint=checkpoint), format_, out, part=part)
    emit({"path": path, "format": format_}, as_json=as_json, text=lambda: click.echo(f"{path} ({format_})"))
