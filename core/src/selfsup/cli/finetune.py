"""``selfsup finetune``: train all weights of an encoder on labelled data."""

from __future__ import annotations

from typing import Any

import click

from selfsup.cli.data_options import checkpoint_option, data_options, part_option
from selfsup.cli.output import json_option, progress_console


@click.command()
@click.argument("encoder", metavar="RUN|ENCODER")
@data_options
@checkpoint_option
@part_option
@click.option(
    "--test", metavar="SRC", help="Rows that the numbers are of [default: the source's test split, or a part held out]."
)
@click.option(
    "--fraction",
    type=float,
    help="Share of the labels that is used, as many of each class as of every other (of numbers, of each tenth) [default: 1].",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of every random choice.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of fine-tuning, such as epochs=10.")
@click.option("--out", metavar="DIR", help="Folder for the fine-tuned encoder and its head.")
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
    test: str | None,
    fraction: float | None,
    seed: int,
    settings: tuple[str, ...],
    out: str | None,
    checkpoint: str | None,
    part: str | None,
    as_json: bool,
) -> None:
    """Train all weights of a copy of an encoder, and a linear head, on (a share of) the labels.

    The score on the test rows is printed and, for a RUN, written to RUN/results. The encoder itself is left as it is.

    On several devices: torchrun --nproc-per-node N -m selfsup finetune ...
    """
    from selfsup.cli.evaluate import evaluator_options, print_records
    from selfsup.evaluation.evaluate import finetune
    from selfsup.training.device.devices import process_ranks

    options = evaluator_options(["finetune"], settings).get("finetune", {})
    set_there = options.pop("fraction", None)
    if None not in (fraction, set_there) and fraction != set_there:
        raise click.UsageError(f"the fraction is given twice, as {fraction} and as {set_there}: leave one of them out.")
    fraction = set_there if fraction is None else fraction
    result = finetune(
        encoder,
        data,
        test,
        fraction=1.0 if fraction is None else fraction,
        options=options,
        label=label,
        label_kind=label_kind,
        unlabelled=unlabelled,
        columns=columns,
        table=table,
        seed=seed,
        max_bad_rows=max_bad_rows,
        checkpoint=checkpoint,
        part=part,
        out=out,
        progress=True,
    )
    if process_ranks()[0] > 0:
        return
    if out is not None:
        progress_console().print(f"The fine-tuned encoder and its head are in {out}.", markup=False, soft_wrap=True)
    print_records([result.record], as_json=as_json)
