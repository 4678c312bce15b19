"""``selfsup finetune``: train all weights of an encoder on labelled data."""

from __future__ import annotations

from typing import Any

import click

from selfsup.cli.data_options import data_options, devices_option, seed_option, test_option
from selfsup.cli.output import json_option, progress_console


@click.command()
@data_options
@test_option
@click.option(
    "--fraction",
    type=float,
    help="Share of the labels to use, the same number for each class (for numbers: for each tenth) [default: 1].",
)
@seed_option
@devices_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of fine-tuning, such as epochs=10.")
@click.option("--out", metavar="DIR", help="Folder for the fine-tuned encoder and its head.")
@json_option
def command(
    encoder: str,
    data: str,
    test: str | None,
    fraction: float | None,
    settings: tuple[str, ...],
    out: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train all weights of a copy of an encoder, and a linear head, on (a share of) the labels.

    Prints the score on the test rows and, for a RUN, writes it to RUN/results. The encoder itself does not change.

    Several devices share each batch: --devices N, or torchrun --nproc-per-node N -m selfsup finetune ...
    """
    from selfsup.cli.evaluate import evaluator_options, print_records
    from selfsup.evaluation.evaluate import finetune
    from selfsup.training.device.devices import process_ranks

    chosen = evaluator_options(["finetune"], settings).get("finetune", {})
    set_there = chosen.pop("fraction", None)
    if None not in (fraction, set_there) and fraction != set_there:
        raise click.UsageError(f"the fraction is given twice, as {fraction} and as {set_there}: leave one of them out.")
    fraction = next((share for share in (fraction, set_there) if share is not None), 1.0)
    result = finetune(encoder, data, test, fraction=fraction, options=chosen, out=out, progress=True, **options)
    if process_ranks()[0] > 0:
        return
    if out is not None:
        progress_console().print(f"The fine-tuned encoder and its head are in {out}.", markup=False, soft_wrap=True)
    print_records([result.record], as_json=as_json)
