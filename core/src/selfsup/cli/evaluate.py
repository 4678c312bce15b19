"""``selfsup evaluate``: measure an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from selfsup.cli.data_options import data_options, devices_option, precision_option, seed_option, test_option
from selfsup.cli.output import emit, json_option, print_table, result_console

if TYPE_CHECKING:
    from selfsup.artifacts import ResultRecord


@click.command()
@data_options
@test_option
@click.option("--evaluators", default="knn,linear", show_default=True, metavar="IDS", help="Separated by commas.")
@seed_option
@precision_option("the embeddings")
@devices_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An evaluator's option, such as knn.k=200.")
@click.option("--out", metavar="DIR", help="Folder of the result records [default: RUN/results].")
@json_option
def command(
    encoder: str, data: str, test: str | None, evaluators: str, settings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Measure an encoder on data with evaluators; most need labels.

    RUN is the folder of a pretraining, ENCODER the folder of an encoder or hf://owner/name. Records go to RUN/results.
    """
    from selfsup.evaluation.evaluate import evaluate
    from selfsup.training.device.devices import process_ranks

    ids = [id.strip() for id in evaluators.split(",") if id.strip()]
    chosen = evaluator_options(ids, settings)
    records = evaluate(encoder, data, test, evaluators=ids, options=chosen, progress=True, **options)
    if process_ranks()[0] == 0:
        print_records(records, as_json=as_json)


def evaluator_options(ids: Sequence[str], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``--set`` as options by evaluator.

    Raises:
        ConfigError: a key belongs to none of the evaluators, or to several.
        UnknownIdError: there is no such evaluator.
    """
    from selfsup.evaluation.choose import evaluator_configs
    from selfsup.training.settings.overrides import parse_assignments, place

    return place(parse_assignments(settings), evaluator_configs(ids), listing="selfsup list options EVALUATOR")


def print_records(records: Sequence[ResultRecord], *, as_json: bool) -> None:
    """Print records on stdout: a table for people, or a JSON list."""
    emit([record.model_dump(mode="json") for record in records], as_json=as_json, text=lambda: _print(records))


def _print(records: Sequence[ResultRecord]) -> None:
    rows = [
        (record.evaluator if i == 0 else "", name, shown(name, value), f"{record.seconds:.1f} s" if i == 0 else "")
        for record in records
        for i, (name, value) in enumerate(record.metrics.items())
    ]
    console = result_console()
    if console.is_terminal and records:
        first = records[0]
        about = f"{first.task or 'encoder'} · {first.backbone} · {first.dataset}: {first.n_train:,} training rows, "
        console.print(f"{about}{first.n_test:,} test rows ({first.details.get('test_rows', '')})", markup=False)
        print_table(("EVALUATOR", "METRIC", "VALUE", "TIME"), rows)
        return
    # Each line of a pipe stands alone.
    print_table(
        ("EVALUATOR", "METRIC", "VALUE"),
        [(r.evaluator, name, f"{value:.6g}") for r in records for name, value in r.metrics.items()],
    )


_SHARES = ("accuracy", "balanced", "macro_f1", "micro_f1", "recall", "map", "auroc", "average_precision", "nmi", "ari")


def shown(name: str, value: float) -> str:
    """A number for people: shares in per cent."""
    return f"{100 * value:.2f} %" if name.startswith(_SHARES) else f"{value:.4g}"
