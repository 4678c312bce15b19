"""``python -m selfsup_bench.quality tabular``: every table task against no training, the columns and boosted trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selfsup_bench.quality.cells import Chosen, Grid, GridData
from selfsup_bench.quality.options import grid_options, measure_grid

_LABELS = ("1%", "5%", "25%", "all")
"""SCARF's and, for the digits, few."""


def _table(label: str, **options: Any) -> GridData:
    # With two classes of unequal size accuracy says little.
    return GridData(**{"label": label, "metric": "auroc", "labels": _LABELS, **options})


GRID = Grid(
    modality="tabular",
    data={
        "adult": _table("income"),
        # How long the call took is known only after it, as its outcome is.
        "bank_marketing": _table("y", overrides={"processor.drop": "duration"}),
        "credit_default": _table("default"),
        "letter": _table("letter", metric="accuracy"),
        "online_shoppers": _table("Revenue"),
        "telco_churn": _table("Churn"),
        "digits-table": GridData(
            labels=("20", "50", "100", "all"),
            # With six of ten pixels replaced, as SCARF's default has it, little is left to tell one digit from another.
            own={"scarf": {"views.rate": 0.4, "objective.temperature": 0.5}},
        ),
    },
    other=GridData(labels=_LABELS),
    tasks=(
        "scarf",
        "vime",
        "subtab",
        "saint",
        "denoising-autoencoder",
        "masked-cells",
        "jepa",
        "vicreg",
        "barlow-twins",
        "byol",
        "simsiam",
    ),
    references=("random-init", "scratch", "raw", "boosting"),
    backbone="mlp",
    shared={"optimization.batch_size": 128},
    # Networks that a CPU trains in seconds.
    of_backbone={"ft-transformer": {"backbone.dim": 64, "backbone.depth": 2, "backbone.heads": 4}},
)


@click.command()
@grid_options(seeds=5, steps=500)
@click.option(
    "--noise",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of wrong training labels.",
)
def tabular(out: Path, jobs: int, as_json: bool, **chosen: Any) -> None:
    """Scores with few and with all labels: untrained, from scratch, columns, boosted trees, and every task at one budget."""
    measure_grid(GRID, Chosen(**chosen), out, jobs=jobs, as_json=as_json)
