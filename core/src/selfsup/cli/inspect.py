"""``selfsup inspect``: show what a run would find in a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from selfsup.cli.data_options import source_options
from selfsup.cli.flags import FlaggedCommand, take_flags
from selfsup.cli.output import emit, json_option, print_table

if TYPE_CHECKING:
    from selfsup.data.inspect import Inspection

_SHOWN_BAD_ROWS = 10


@click.command("inspect", cls=FlaggedCommand, no_args_is_help=True)
@click.argument("source", metavar="SRC")
@click.option(
    "--modality", metavar="M", help="Kind of data: vision, text, audio, ... [default: that of a registered data set]."
)
@click.option("--split", metavar="NAME", help="Split of the source [default: train if there is one].")
@source_options
@click.option("--holdout", default=0.0, metavar="X", help="Share of the rows that pretraining would leave out [default: 0].")
@click.option("--rows", default=256, show_default=True, metavar="N", help="Rows to try, spread over the source.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="An option of the processor: --set processor.image_size=64."
)
@json_option
def command(source: str, modality: str | None, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show what a run would find in a source, without training.

    Shows the files that are used and skipped, the columns and their use, columns that could be the labels, bad rows of a
    sample, and the decisions of the processor: sizes, rates, lengths, kinds of columns.

    \b
    selfsup inspect photos/ --modality vision
    selfsup inspect sales.csv --modality tabular --separator ";" --decimal ,
    """
    from selfsup.data.inspect import inspect, modality_of
    from selfsup.registry import registry
    from selfsup.training.settings import overrides

    kind = modality or modality_of(source)
    given = overrides.join(overrides.parse_assignments(settings), take_flags(options, kind))
    config = registry().processor_class(registry().get("modality", kind).id).Config
    processor = overrides.place(given, {"processor": config}).get("processor", {})
    found = inspect(source, kind, processor=processor, progress=not as_json, **options)
    emit(found.as_dict(), as_json=as_json, text=lambda: _print(found))


def _print(found: Inspection) -> None:
    click.echo(f"{found.source}: {found.rows:,} rows for {found.modality} (split {found.split}, of {', '.join(found.splits)})")
    for topic, text in found.facts.items():
        click.echo(f"  {topic}: {text}")
    click.echo()
    rows = [(item.name, item.type, item.used_as, str(item.missing), " | ".join(item.examples)) for item in found.columns]
    print_table(("COLUMN", "TYPE", "USED AS", "MISSING", "EXAMPLES"), rows)
    click.echo()
    if not found.labels:
        click.echo("Labels: no column could be one.")
    for item in found.labels:
        click.echo(f"{'Labels' if item.taken else 'Could be labels'}: {item.column}, {item.description}")
    click.echo(f"Tested on: {found.tested_on}")
    click.echo()
    usable = found.sample_rows - sum(found.bad_rows.values())
    click.echo(f"Sample of {found.sample_rows} rows: {usable} can be used")
    for key, text in found.samples.items():
        click.echo(f"  {key}: {text}")
    for text in list(found.bad_rows)[:_SHOWN_BAD_ROWS]:
        click.echo(f"  bad: {text}")
    if len(found.bad_rows) > _SHOWN_BAD_ROWS:
        click.echo(f"  and {len(found.bad_rows) - _SHOWN_BAD_ROWS} more")
    for text, count in found.remarks.items():
        click.echo(f"Warning: {count} of the {found.sample_rows} rows: {text}.")
    for text in found.warnings:
        click.echo(f"Warning: {text}")
